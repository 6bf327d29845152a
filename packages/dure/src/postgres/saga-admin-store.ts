import type {
  ListedSaga,
  MovedDeadline,
  SagaAdminStore,
  SagaTimer,
  StoredCommandOutcome,
} from "../admin/saga-admin-store.ts";
import type { RecordedSaga } from "../saga/saga-details.ts";
import type { SagaStatus } from "../saga/saga-event.ts";
import { textOrNull } from "./message-row.ts";
import type { PostgresPool } from "./pool.ts";
import { sagaAdminSql } from "./saga-admin-sql.ts";
import type { SagaAdminSql } from "./saga-admin-sql.ts";
import { storedSaga } from "./saga-store.ts";

type Row = Readonly<Record<string, unknown>>;

/** What an operator may see of sagas, and do to them, in PostgreSQL. `schema` is quoted. */
export function postgresSagaAdmin(pool: PostgresPool, schema: string): SagaAdminStore {
  const sql = sagaAdminSql(schema);
  return {
    load: (sagaIds) => load(pool, sql, sagaIds),
    async list({ definition, status, businessKey }, limit, after) {
      const { rows } = await pool.query(sql.list, [
        definition ?? null,
        status ?? null,
        businessKey ?? null,
        after?.startedAt ?? null,
        after?.sagaId ?? null,
        limit,
      ]);
      return rows.map((row) => ({ ...listed(row), endedAt: textOrNull(row["ended_at"]) }));
    },
    async timers({ definition }, limit) {
      const { rows } = await pool.query(sql.timers, [definition ?? null, limit]);
      return rows.map(timerFromRow);
    },
    async live(limit, after) {
      const { rows } = await pool.query(sql.live, [limit, after ?? null]);
      return rows.map((row) => String(row["saga_id"]));
    },
    async command(sagaId, { n, command, subject, body }, { actor, reason }) {
      const { rows } = await pool.query(sql.command, [
        sagaId,
        n ?? null,
        ["command", n, command, subject].filter((part) => part !== undefined).join("/"),
        JSON.stringify(body),
        actor,
        `saga.${command}`,
        ["saga", sagaId, subject].filter((part) => part !== "").join("/"),
        reason,
      ]);
      return rows[0]?.["outcome"] as StoredCommandOutcome;
    },
    async moveDeadline(sagaId, deadlineAt, { actor, reason }) {
      const { rows } = await pool.query(sql.moveDeadline, [sagaId, deadlineAt, actor, reason]);
      return rows[0]?.["outcome"] as MovedDeadline;
    },
  };
}

async function load(
  pool: PostgresPool,
  sql: SagaAdminSql,
  sagaIds: readonly string[],
): Promise<readonly RecordedSaga[]> {
  // One after the other: the newer journal of a saga that goes on is no harm, an older one would miss entries.
  const instances = await pool.query(sql.instances, [sagaIds]);
  const { rows } = await pool.query(sql.journals, [sagaIds]);
  const entries = Map.groupBy(rows, (row) => String(row["saga_id"]));
  return instances.rows.map((row) => recorded(row, entries.get(String(row["saga_id"])) ?? []));
}

function recorded(row: Row, entries: readonly Row[]): RecordedSaga {
  const journal = entries.map((entry) => entry["events"] as readonly unknown[]);
  return {
    ...storedSaga(row, journal),
    wakeAt: textOrNull(row["wake_at"]) ?? undefined,
    entries: entries.map((entry) => ({
      recordedAt: String(entry["recorded_at"]),
      process: Number(entry["process"]),
    })),
  };
}

function listed(row: Row): Omit<ListedSaga, "endedAt"> {
  return {
    sagaId: String(row["saga_id"]),
    definition: String(row["definition"]),
    version: Number(row["version"]),
    businessKey: textOrNull(row["business_key"]),
    status: row["status"] as SagaStatus,
    startedAt: String(row["started_at"]),
  };
}

function timerFromRow(row: Row): SagaTimer {
  return {
    sagaId: String(row["saga_id"]),
    definition: String(row["definition"]),
    version: Number(row["version"]),
    businessKey: textOrNull(row["business_key"]),
    status: row["status"] as SagaStatus,
    wakeAt: String(row["wake_at"]),
    deadlineAt: textOrNull(row["deadline_at"]),
  };
}
