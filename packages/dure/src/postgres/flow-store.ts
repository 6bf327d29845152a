import type { FlowEvent, FlowEntry, FlowStore, OpenedFlow } from "../saga/flow-store.ts";
import type { FlowOverdueData } from "../saga/flow-alert.ts";
import type { SagaClosedData } from "../saga/saga-alert.ts";
import type { SagaStatus } from "../saga/saga-event.ts";
import { flowSql } from "./flow-sql.ts";

/** Flows in the tables of `0011_saga.sql`, `0014_flow.sql` and `0020_closing.sql`. `schema` is quoted. */
export function postgresFlowStore(schema: string): FlowStore {
  const sql = flowSql(schema);
  return {
    async open(tx, names) {
      const { rows } = await tx.query(sql.open, [
        names.map(({ definition }) => definition),
        names.map(({ sagaId }) => sagaId),
      ]);
      return rows.map(openedFlow);
    },
    async record(tx, entries, early) {
      await tx.query(sql.record, [
        JSON.stringify(entries.map(entryRow)),
        JSON.stringify(
          early.map(({ definition, sagaId, fact }) => ({
            definition,
            id: sagaId,
            type: fact.step,
            event: fact,
          })),
        ),
      ]);
    },
    async noteOverdue(tx, limit) {
      const { rows } = await tx.query(sql.overdue, [limit]);
      return rows.map((row) => ({
        sagaId: String(row["saga_id"]),
        definition: String(row["definition"]),
        version: Number(row["version"]),
        businessKey: row["business_key"] as string | null,
        // What has ended waits for nothing.
        status: row["status"] as FlowOverdueData["status"],
        waitingFor: row["services"] as readonly string[],
        since: String(row["since"]),
      }));
    },
    async resolve(tx, limit) {
      const { rows } = await tx.query(sql.resolve, [limit]);
      return rows.map((row) => ({
        sagaId: String(row["saga_id"]),
        definition: String(row["definition"]),
        version: Number(row["version"]),
        status: row["status"] as SagaClosedData["status"],
        code: "RESOLVED",
        error: String(row["why"]),
        actor: String(row["actor"]),
      }));
    },
    async forgetEarly(tx, olderMs, limit) {
      const { rows } = await tx.query(sql.forgetEarly, [olderMs, limit]);
      return Number(rows[0]?.["count"]);
    },
  };
}

function openedFlow(row: Readonly<Record<string, unknown>>): OpenedFlow {
  const journal = row["journal"] as readonly (readonly FlowEvent[])[] | null;
  const early = row["early"] as readonly FlowEvent[] | null;
  const knownAs = row["known_as"];
  const state = { version: Number(row["version"]), status: row["status"] as SagaStatus };
  return {
    definition: String(row["definition"]),
    sagaId: String(row["saga_id"]),
    instance: typeof knownAs !== "string" ? undefined : { definition: knownAs, ...state },
    events: journal?.flat() ?? early ?? [],
  };
}

function entryRow(entry: FlowEntry): object {
  const { sagaId, definition, version, events, status, isEnd, waits, start } = entry;
  return {
    id: sagaId,
    definition,
    version,
    events,
    status,
    is_end: isEnd,
    is_start: start !== undefined,
    waits: waits.map(({ id, service, ms }) => ({ wait: id, service, ms })),
    key: start?.businessKey,
    trace: start?.traceparent,
    input: start?.input,
  };
}
