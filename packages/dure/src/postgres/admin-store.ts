import type { AdminStore, DeadLetterFilter } from "../admin/admin-store.ts";
import { adminSql } from "./admin-sql.ts";
import { textOf } from "./message-row.ts";
import type { PostgresPool } from "./pool.ts";

/** What an operator may see and do, in PostgreSQL. `schema` is quoted. */
export function postgresAdminStore(pool: PostgresPool, schema: string): AdminStore {
  const sql = adminSql(schema);
  return {
    async status() {
      const { rows } = await pool.query(sql.status);
      const row = rows[0] ?? {};
      return {
        pending: Number(row["pending"]),
        oldestPendingSeconds: Number(row["oldest"]),
        deadLetters: Number(row["dead"]),
        waiting: Number(row["waiting"]),
        parkedKeys: Number(row["keys"]),
        relays: Number(row["relays"]),
        outboxBytes: Number(row["bytes"]),
      };
    },
    async deadLetters(filter, limit) {
      const { rows } = await pool.query(sql.deadLetters, [...filterColumns(filter), limit]);
      return rows.map((row) => ({
        id: String(row["id"]),
        side: row["side"] === "relay" ? "relay" : "consumer",
        consumer: String(row["consumer"]),
        topic: String(row["topic"]),
        key: String(row["key"]),
        messageId: String(row["message_id"]),
        type: String(row["type"]),
        attempts: Number(row["attempts"]),
        errorCode: textOrNull(row["error_code"]),
        lastError: textOrNull(row["last_error"]),
        firstFailedAt: textOrNull(row["first_failed_at"]),
        lastFailedAt: textOrNull(row["last_failed_at"]),
        traceparent: textOrNull(row["traceparent"]),
        heldCount: Number(row["held"]),
      }));
    },
    async redrive(filter, limit, { actor, reason }) {
      const params = [...filterColumns(filter), limit, actor, reason ?? null];
      return (await pool.query(sql.redrive, params)).rows.length;
    },
    async discard(filter, limit, { actor, reason }) {
      const params = [...filterColumns(filter), limit, actor, reason];
      return (await pool.query(sql.discard, params)).rows.length;
    },
  };
}

function filterColumns(filter: DeadLetterFilter): readonly unknown[] {
  const { id, side, consumer, topic, key, type } = filter;
  return [id, side, consumer, topic, key, type].map((value) => value ?? null);
}

function textOrNull(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  return value instanceof Date ? value.toISOString() : textOf(value);
}
