import type { SagaStatus } from "../saga/saga-event.ts";
import type { SagaSignal, SagaStore, StoredSaga } from "../saga/saga-store.ts";
import { queryWithin } from "./pool.ts";
import type { PostgresPool, PostgresResult } from "./pool.ts";
import { localParams, recordParams } from "./saga-entries.ts";
import { preparedQuery } from "./prepared.ts";
import type { PreparedQuery } from "./prepared.ts";
import { sagaSql } from "./saga-sql.ts";
import type { SagaSql } from "./saga-sql.ts";
import { sqlStateOf, translateSqlError } from "./sqlstate.ts";

/** Sagas in the tables of `0011_saga.sql`. `pool` bounds its statements; `schema` is quoted. */
export function postgresSagaStore(pool: PostgresPool, schema: string): SagaStore {
  const sql = sagaSql(schema);
  const run: Run = async (text, params) => {
    try {
      return await pool.query(text, params);
    } catch (error) {
      throw translateSqlError(error);
    }
  };
  return {
    ...membershipPart(pool, run, sql),
    ...writingPart(sql, {
      record: preparedQuery(pool, sql.record),
      recordSoon: preparedQuery(pool, sql.recordSoon),
    }),
    ...takingPart(run, sql),
    ...readingPart(run, sql),
    ...askingPart(run, sql),
  };
}

/** A batch is short; a connection that is silent for longer is given up, and the batch written again. */
const recordMsMax = 5_000;

type Run = (text: string, params: readonly unknown[]) => Promise<PostgresResult>;

/** Who drives. */
function membershipPart(
  pool: PostgresPool,
  run: Run,
  sql: SagaSql,
): Pick<SagaStore, "join" | "beat" | "takeOver" | "leave"> {
  /** Fences in one transaction, frees in the next: what the fence let through is committed by then. */
  const fenceAndFree = async (process: number, isLeaving: boolean): Promise<number> => {
    await run(sql.fence, [process, isLeaving]);
    return Number((await run(sql.free, [process])).rows[0]?.["freed"]);
  };
  return {
    async join(leaseMs) {
      const { rows } = await run(sql.join, [leaseMs]);
      return { process: Number(rows[0]?.["process"]), now: Number(rows[0]?.["now"]) };
    },
    async beat(process, leaseMs) {
      // An answer that comes after the lease is no answer.
      const { rows } = await queryWithin(pool, sql.beat, [process, leaseMs], { msMax: leaseMs });
      return rows[0]?.["is_held"] === true ? { now: Number(rows[0]["now"]) } : undefined;
    },
    async takeOver() {
      const { rows } = await run(sql.overdue, []);
      let freed = 0;
      for (const row of rows) freed += await fenceAndFree(Number(row["process"]), false);
      return freed;
    },
    async leave(process) {
      await fenceAndFree(process, true);
    },
  };
}

type Prepared = Readonly<Record<"record" | "recordSoon", PreparedQuery>>;

/** What a driver writes. */
function writingPart(
  sql: SagaSql,
  prepared: Prepared,
): Pick<
  SagaStore,
  "record" | "recordSoon" | "recordStatement" | "recordStatements" | "lockWaitStatement"
> {
  return {
    async record(process, batch, entries) {
      try {
        return await write(prepared.record, recordParams(process, batch, entries));
      } catch (error) {
        throw translateSqlError(error);
      }
    },
    async recordSoon(process, batch, entries) {
      try {
        return await write(prepared.recordSoon, recordParams(process, batch, entries));
      } catch (error) {
        // lock_not_available.
        if (sqlStateOf(error) === "55P03") return undefined;
        throw translateSqlError(error);
      }
    },
    recordStatement: (process, batch, entry) => ({
      text: sql.recordLocal,
      params: localParams(process, batch, entry),
    }),
    recordStatements: (process, batch, entries) => ({
      text: sql.recordAll,
      params: recordParams(process, batch, entries),
    }),
    lockWaitStatement: (ms) => ({ text: sql.boundLockWait, params: [ms] }),
  };
}

/** What a driver takes. */
function takingPart(
  run: Run,
  sql: SagaSql,
): Pick<SagaStore, "claim" | "owned" | "signals" | "signalsOf"> {
  return {
    async claim(process, places) {
      const { rows } = await run(sql.claim, [
        process,
        places.map((place) => place.definition),
        places.map((place) => place.version),
        places.map((place) => place.places),
      ]);
      return rows.map((row) => String(row["saga_id"]));
    },
    async owned(process) {
      const { rows } = await run(sql.owned, [process]);
      return rows.map((row) => String(row["saga_id"]));
    },
    async signals(process, limit) {
      return (await run(sql.signals, [process, limit])).rows.map(signalOf);
    },
    async signalsOf(sagaIds) {
      return (await run(sql.signalsOf, [sagaIds])).rows.map(signalOf);
    },
  };
}

async function write(
  statement: PreparedQuery,
  params: readonly unknown[],
): Promise<ReadonlySet<string>> {
  const { rows } = await statement(params, { msMax: recordMsMax });
  return new Set(rows[0]?.["refused"] as readonly string[] | null);
}

/** How sagas stand. */
function readingPart(run: Run, sql: SagaSql): Pick<SagaStore, "load" | "outcomes" | "leftBehind"> {
  return {
    async leftBehind() {
      return (await run(sql.leftBehind, [])).rows.map((row) => ({
        definition: String(row["definition"]),
        version: Number(row["version"]),
        count: Number(row["count"]),
      }));
    },
    async load(sagaIds, tx) {
      const read: Run = tx === undefined ? run : (text, params) => tx.query(text, params);
      const [instances, journals] = await Promise.all([
        read(sql.instances, [sagaIds]),
        read(sql.journals, [sagaIds]),
      ]);
      const entries = new Map<string, (readonly unknown[])[]>();
      for (const row of journals.rows) {
        const sagaId = String(row["saga_id"]);
        const known = entries.get(sagaId);
        const events = row["events"] as readonly unknown[];
        if (known === undefined) entries.set(sagaId, [events]);
        else known.push(events);
      }
      return instances.rows.map((row) =>
        storedSaga(row, entries.get(String(row["saga_id"])) ?? []),
      );
    },
    async outcomes(sagaIds) {
      return (await run(sql.outcomes, [sagaIds])).rows.map((row) => ({
        sagaId: String(row["saga_id"]),
        status: row["status"] as SagaStatus,
        events: (row["events"] as readonly unknown[] | null) ?? [],
      }));
    },
  };
}

/** What others write: a start, a signal. */
function askingPart(run: Run, sql: SagaSql): Pick<SagaStore, "start" | "signal"> {
  return {
    async start(tx, start) {
      const { rows } = await tx.query(sql.start, [
        start.sagaId,
        start.definition,
        start.version,
        start.businessKey ?? null,
        start.input,
        start.traceparent ?? null,
        start.deadlineMs ?? null,
      ]);
      const [row] = rows;
      if (row === undefined) return undefined;
      return {
        definition: String(row["definition"]),
        version: Number(row["version"]),
        input: JSON.parse(String(row["input"])) as unknown,
      };
    },
    async signal(tx, sagaId, { dedupKey, body }) {
      const params = [sagaId, dedupKey, JSON.stringify(body)];
      const { rows } = await (tx === undefined
        ? run(sql.signal, params)
        : tx.query(sql.signal, params));
      return rows[0]?.["is_taken"] === true;
    },
  };
}

function signalOf(row: Readonly<Record<string, unknown>>): SagaSignal {
  return { id: Number(row["signal_id"]), sagaId: String(row["saga_id"]), body: row["body"] };
}

/** A saga from a row that says what {@link StoredSaga} holds, and its journal. */
export function storedSaga(
  row: Readonly<Record<string, unknown>>,
  journal: readonly (readonly unknown[])[],
): StoredSaga {
  const text = (name: string): string | undefined =>
    typeof row[name] === "string" ? row[name] : undefined;
  const number = (name: string): number | undefined =>
    row[name] === null ? undefined : Number(row[name]);
  return {
    sagaId: String(row["saga_id"]),
    definition: String(row["definition"]),
    version: Number(row["version"]),
    status: row["status"] as SagaStatus,
    businessKey: text("business_key"),
    input: row["input"],
    traceparent: text("traceparent"),
    startedAt: String(row["started_at"]),
    endedAt: text("ended_at"),
    deadlineAt: number("deadline_at"),
    process: number("process"),
    journal,
  };
}
