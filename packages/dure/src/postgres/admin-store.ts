import type {
  AdminStore,
  DeadLetter,
  DeadLetterFilter,
  PendingEvent,
} from "../admin/admin-store.ts";
import { adminSql } from "./admin-sql.ts";
import { lockSubject, postgresLockAdmin } from "./lock-store.ts";
import { textOrNull } from "./message-row.ts";
import { tellOnce } from "./notifications.ts";
import { quoteIdentifier } from "./pool.ts";
import type { PostgresPool } from "./pool.ts";
import { postgresParkedSagas } from "./parked-sagas.ts";
import { outboxNews, postgresRelayAdmin } from "./relay-admin-store.ts";
import { postgresSagaAdmin } from "./saga-admin-store.ts";
import { postgresSemaphoreAdmin } from "./semaphore-store.ts";

/** What an operator may see and do, in PostgreSQL. */
export function postgresAdminStore(
  pool: PostgresPool,
  schemaName: string,
  /** For what may take its time: its statements are not given up. */
  patientPool: PostgresPool,
): AdminStore {
  const schema = quoteIdentifier(schemaName);
  const sql = adminSql(schema);
  const sagas = postgresParkedSagas(pool, schema);
  return {
    sagas: postgresSagaAdmin(pool, schema),
    locks: postgresLockAdmin(pool, schema, ({ key }) =>
      tellOnce(pool, outboxNews(schemaName), [lockSubject(key)]),
    ),
    semaphores: postgresSemaphoreAdmin(pool, schema, outboxNews(schemaName)),
    async status() {
      const { rows } = await pool.query(sql.status);
      const row = rows[0] ?? {};
      return {
        pending: Number(row["pending"]),
        oldestPendingSeconds: Number(row["oldest"]),
        deadLetters: Number(row["dead"]) + Number(row["parked_sagas"]),
        liveSagas: Number(row["sagas"]) - Number(row["parked_sagas"]),
        parkedSagas: Number(row["parked_sagas"]),
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
      const messages = isMessages(filter)
        ? (await pool.query(sql.deadLetters, [...filterColumns(filter), limit])).rows
        : [];
      const found = messages.map(letterFromRow);
      const left = limit - found.length;
      return left <= 0 ? found : [...found, ...(await sagas.deadLetters(filter, left))];
    },
    async redrive(filter, limit, by) {
      const params = [...filterColumns(filter), limit, by.actor, by.reason ?? null];
      const count = isMessages(filter) ? (await pool.query(sql.redrive, params)).rows.length : 0;
      return count >= limit ? count : count + (await sagas.redrive(filter, limit - count, by));
    },
    async discard(filter, limit, { actor, reason }) {
      if (!isMessages(filter)) return 0;
      const params = [...filterColumns(filter), limit, actor, reason];
      return (await pool.query(sql.discard, params)).rows.length;
    },
    ...postgresRelayAdmin(pool, schemaName, patientPool),
  };
}

/** Whether messages may be meant, and not sagas alone. */
function isMessages({ id, side }: DeadLetterFilter): boolean {
  return side !== "saga" && (id === undefined || /^\d+$/.test(id));
}

function letterFromRow(row: Readonly<Record<string, unknown>>): DeadLetter {
  return {
    id: String(row["id"]),
    side: row["side"] === "relay" ? "relay" : "consumer",
    consumer: String(row["consumer"]),
    topic: String(row["topic"]),
    key: String(row["key"]),
    messageId: String(row["message_id"]),
    type: String(row["type"]),
    sagaId: null,
    step: null,
    attempts: Number(row["attempts"]),
    errorCode: textOrNull(row["error_code"]),
    lastError: textOrNull(row["last_error"]),
    firstFailedAt: textOrNull(row["first_failed_at"]),
    lastFailedAt: textOrNull(row["last_failed_at"]),
    traceparent: textOrNull(row["traceparent"]),
    heldCount: Number(row["held"]),
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
