import { keyIdOf } from "../idempotency/fingerprint.ts";
import type { KeyClaim, KeyStore } from "../idempotency/key-store.ts";
import { idempotencySql } from "./idempotency-sql.ts";

/** Keys in the table of `0015_idempotency.sql`. `schema` is quoted. */
export function postgresKeyStore(schema: string): KeyStore {
  const sql = idempotencySql(schema);
  return {
    claimText: ({ scope, key, fingerprint, leaseMs }) =>
      sql.claim({ id: keyIdOf(scope, key), fingerprint, leaseMs }),
    readClaim: (rows) => claimFromRow(rows.find((row) => "kind" in row) ?? {}),
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

function claimFromRow(row: Readonly<Record<string, unknown>>): KeyClaim {
  const { kind } = row;
  if (kind === "claimed") return { kind };
  if (kind === "in_flight") return { kind };
  if (kind === "mismatch") return { kind };
  if (kind !== "replayed") throw new TypeError("the claim of a key gave no answer");
  const headers = JSON.parse(String(row["headers"])) as readonly (readonly [string, string])[];
  const body = Buffer.from(String(row["body"]), "base64");
  return { kind, answer: { status: Number(row["status"]), headers, body } };
}
