import { keyIdOf } from "../idempotency/fingerprint.ts";
import type { Answer } from "../idempotency/keyed-request.ts";
import type { KeyClaim, KeyStore, RecordedKey } from "../idempotency/key-store.ts";
import { idempotencySql } from "./idempotency-sql.ts";
import type { PostgresPool } from "./pool.ts";
import { preparedQuery } from "./prepared.ts";
import { translateSqlError } from "./sqlstate.ts";

/** Keys in the table of `0015_idempotency.sql`. `schema` is quoted. */
export function postgresKeyStore(pool: PostgresPool, schema: string): KeyStore {
  const sql = idempotencySql(schema);
  const savepoint = { text: sql.savepoint, params: [] };
  const look = preparedQuery(pool, sql.look);
  const prepared = [sql.keep, sql.savepoint, sql.claim];
  return {
    async look({ scope, key, fingerprint, leaseMs }) {
      try {
        const { rows } = await look([keyIdOf(scope, key), fingerprint], { msMax: leaseMs });
        return rows.length === 0 ? undefined : recordFromText(rows[0]?.["claim"]);
      } catch (error) {
        throw translateSqlError(error);
      }
    },
    claim({ scope, key, fingerprint, leaseMs }) {
      const id = keyIdOf(scope, key);
      const params = [id, fingerprint, lockOf(id), lockOf(mixed(id, fingerprint)), leaseMs];
      return { statements: [{ text: sql.claim, params }, savepoint], prepared };
    },
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

type Recorded =
  | readonly [kind: "mismatch"]
  | readonly [kind: "replayed", status: number, headers: Answer["headers"], body: string];

function claimFromText(text: unknown): KeyClaim {
  const claim = JSON.parse(String(text)) as readonly [kind: "claimed" | "in_flight"] | Recorded;
  const [kind] = claim;
  return kind === "claimed" || kind === "in_flight" ? { kind } : recordFrom(claim as Recorded);
}

function recordFromText(text: unknown): RecordedKey {
  return recordFrom(JSON.parse(String(text)) as Recorded);
}

function recordFrom(recorded: Recorded): RecordedKey {
  if (recorded[0] === "mismatch") return { kind: "mismatch" };
  const [kind, status, headers, body] = recorded;
  return { kind, answer: { status, headers, body: Buffer.from(body, "base64") } };
}

/** The number of an advisory lock: 64 bits with a sign. */
function lockOf(id: string): string {
  return String(BigInt.asIntN(64, BigInt(`0x${id.slice(0, 16)}`)));
}

/** One number of two: equal pairs, and as good as no others, give the same. */
function mixed(left: string, right: string): string {
  const bits = BigInt(`0x${left}`) * 31n + BigInt(`0x${right}`);
  return BigInt.asUintN(128, bits ^ (bits >> 61n))
    .toString(16)
    .padStart(32, "0");
}
