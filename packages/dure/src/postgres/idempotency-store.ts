import { keyIdOf } from "../idempotency/fingerprint.ts";
import type { Answer } from "../idempotency/keyed-request.ts";
import type { KeyClaim, KeyStore } from "../idempotency/key-store.ts";
import { idempotencySql } from "./idempotency-sql.ts";

/** Keys in the table of `0015_idempotency.sql`. `schema` is quoted. */
export function postgresKeyStore(schema: string): KeyStore {
  const sql = idempotencySql(schema);
  return {
    claimText: ({ scope, key, fingerprint, leaseMs }) =>
      sql.claim({ id: keyIdOf(scope, key), fingerprint, leaseMs }),
    readClaim: (rows) => claimFromText(rows.find((row) => "claim" in row)?.["claim"]),
    undoText: sql.undo,
    keepStatement(request, { status, headers, body }) {
      const { scope, key, fingerprint, route, keepMs, leaseMs } = request;
      const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("base64");
      const id = keyIdOf(scope, key);
      const answer = [status, JSON.stringify(headers), text];
      return {
        text: sql.keep,
        params: [id, fingerprint, scope, key, route, ...answer, keepMs, leaseMs],
      };
    },
  };
}

function claimFromText(text: unknown): KeyClaim {
  const claim = JSON.parse(String(text)) as
    | readonly [kind: "claimed" | "in_flight" | "mismatch"]
    | readonly [kind: "replayed", status: number, headers: Answer["headers"], body: string];
  const [kind] = claim;
  if (kind !== "replayed") return { kind };
  const [, status, headers, body] = claim;
  return { kind, answer: { status, headers, body: Buffer.from(body, "base64") } };
}
