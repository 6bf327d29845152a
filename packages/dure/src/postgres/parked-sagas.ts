import type { Actor, DeadLetter, DeadLetterFilter } from "../admin/admin-store.ts";
import { textOrNull } from "./message-row.ts";
import type { PostgresPool } from "./pool.ts";
import { sagaAdminSql } from "./saga-admin-sql.ts";

/** The sagas among the dead letters. */
export interface ParkedSagas {
  deadLetters(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]>;
  redrive(filter: DeadLetterFilter, limit: number, by: Actor): Promise<number>;
}

/** Parked sagas as dead letters. `schema` is quoted. */
export function postgresParkedSagas(pool: PostgresPool, schema: string): ParkedSagas {
  const sql = sagaAdminSql(schema);
  return {
    async deadLetters(filter, limit) {
      if (!isSagas(filter)) return [];
      const { rows } = await pool.query(sql.deadLetters, [...columns(filter), limit]);
      return rows.map(letterFromRow);
    },
    async redrive(filter, limit, { actor, reason }) {
      if (!isSagas(filter)) return 0;
      const params = [...columns(filter), limit, actor, reason ?? null];
      return Number((await pool.query(sql.redrive, params)).rows[0]?.["count"]);
    },
  };
}

const topic = "saga";
const prefix = "saga/";

/** Whether sagas may be meant. */
function isSagas(filter: DeadLetterFilter): boolean {
  if (filter.side !== undefined && filter.side !== "saga") return false;
  if (filter.topic !== undefined && filter.topic !== topic) return false;
  return filter.id === undefined || filter.id.startsWith(prefix);
}

function columns({ id, consumer, key, type }: DeadLetterFilter): readonly unknown[] {
  return [id?.slice(prefix.length), consumer, key, type].map((value) => value ?? null);
}

function letterFromRow(row: Readonly<Record<string, unknown>>): DeadLetter {
  const sagaId = String(row["saga_id"]);
  return {
    id: `${prefix}${sagaId}`,
    side: "saga",
    consumer: String(row["definition"]),
    topic,
    key: textOrNull(row["business_key"]) ?? sagaId,
    messageId: sagaId,
    type: String(row["status"]),
    sagaId,
    step: textOrNull(row["step"]),
    attempts: Number(row["attempts"]),
    errorCode: textOrNull(row["code"]),
    lastError: textOrNull(row["error"]),
    firstFailedAt: textOrNull(row["first_failed_at"]),
    lastFailedAt: textOrNull(row["last_failed_at"]),
    traceparent: textOrNull(row["traceparent"]),
    heldCount: 0,
  };
}
