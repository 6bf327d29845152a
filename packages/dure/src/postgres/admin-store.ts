import type { AdminStore, DeadLetterFilter, PendingEvent } from "../admin/admin-store.ts";
import { adminSql } from "./admin-sql.ts";
import { textOrNull } from "./message-row.ts";
import { quoteIdentifier } from "./pool.ts";
import type { PostgresPool } from "./pool.ts";
import { postgresRelayAdmin } from "./relay-admin-store.ts";

/** What an operator may see and do, in PostgreSQL. */
export function postgresAdminStore(
  pool: PostgresPool,
  schemaName: string,
  /** For what may take its time: its statements are not given up. */
  patientPool: PostgresPool,
): AdminStore {
  const sql = adminSql(quoteIdentifier(schemaName));
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
        isPaused: row["is_paused"] === true,
        outboxBytes: Number(row["bytes"]),
      };
    },
    async oldestPending() {
      const { rows } = await pool.query(sql.oldestPending);
      return rows.map(pendingFromRow)[0];
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
    ...postgresRelayAdmin(pool, schemaName, patientPool),
  };
}

function pendingFromRow(row: Readonly<Record<string, unknown>>): PendingEvent {
  return {
    id: String(row["id"]),
    topic: String(row["topic"]),
    type: String(row["type"]),
    shard: Number(row["shard"]),
    seconds: Number(row["seconds"]),
  };
}

function filterColumns(filter: DeadLetterFilter): readonly unknown[] {
  const { id, side, consumer, topic, key, type } = filter;
  return [id, side, consumer, topic, key, type].map((value) => value ?? null);
}
