/** A flow that waits too long is said of once, with the service that it waits for, and goes on as before. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type pg from "pg";
import type { Dure, FlowEvent, FlowOverdueData } from "../../src/index.ts";
import { postgresFlowStore } from "../../src/postgres/flow-store.ts";
import { checkoutWithin, facts } from "../support/flows.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor, within } from "../support/wait-for.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ name: "flow_watch", poolSizeMax: 30 });
});
afterAll(() => database[Symbol.asyncDispose]());

const impatient = checkoutWithin({ payment: 40, stock: 40 });

async function started(): Promise<TestService> {
  const service = createTestService({
    pool: database.pool,
    service: "order",
    sagas: { flows: [impatient], flowWatchMs: 10 },
  });
  await service.dure.start();
  return service;
}

async function tell(
  dure: Dure<pg.PoolClient>,
  sagaIds: readonly string[],
  ...told: readonly (typeof facts)[keyof typeof facts][]
): Promise<void> {
  await dure.transaction(async (tx) => {
    for (const sagaId of sagaIds) {
      for (const fact of told) tx.emit(fact, { orderId: `o-${sagaId}`, sagaId });
    }
  });
}

/** The alerts that were published of a flow, or of several. */
async function alertsOf(pattern: string): Promise<readonly FlowOverdueData[]> {
  const { rows } = await database.pool.query<{ data: string }>(
    `select data from dure.log_message
     where topic = 'alert' and data::json ->> 'sagaId' like $1 order by position`,
    [pattern],
  );
  return rows.map(({ data }) => JSON.parse(data) as FlowOverdueData);
}

async function alerted(pattern: string, count: number): Promise<readonly FlowOverdueData[]> {
  await waitFor(async () => (await alertsOf(pattern)).length >= count, {
    what: `${count} alerts of ${pattern}`,
  });
  return alertsOf(pattern);
}

const overdueLines = ({ logs }: TestService, sagaId: string) =>
  logs.filter(
    ({ message, facts: said }) => said?.["sagaId"] === sagaId && /too long/.test(message),
  );

describe("the watch", () => {
  it("names the service, in the log, in the journal and in an event, and the late answer counts", async () => {
    await using service = await started();
    const { dure } = service;
    await tell(dure, ["O-1"], facts.created);
    const [alert] = await alerted("O-1", 1);
    const { since, ...said } = alert ?? { since: "" };
    expect(since).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(said).toEqual({
      sagaId: "O-1",
      definition: "checkout-choreographed",
      version: 1,
      businessKey: "o-O-1",
      status: "RUNNING",
      waitingFor: ["payment"],
    });
    await waitFor(() => overdueLines(service, "O-1").length, { what: "the log" });
    expect(overdueLines(service, "O-1")).toMatchObject([
      {
        level: "warn",
        message: "flow waits too long for payment",
        facts: { waitingFor: "payment" },
      },
    ]);
    const { rows } = await database.pool.query<{ n: number; events: FlowEvent[] }>(
      "select n, events from dure.saga_journal where saga_id = 'O-1' order by n",
    );
    expect(rows).toMatchObject([
      { n: 1, events: [{ type: "heard", step: "order.created" }] },
      { n: 2, events: [{ type: "overdue", step: "payment", service: "payment" }] },
    ]);
    await tell(dure, ["O-1"], facts.paid);
    expect((await alerted("O-1", 2))[1]).toMatchObject({ waitingFor: ["inventory"] });
    await tell(dure, ["O-1"], facts.reserved, facts.delivered);
    expect(await within(dure.sagas.outcome("O-1"), { what: "the end" })).toMatchObject({
      kind: "completed",
    });
    await holdsFor(async () => (await alertsOf("O-1")).length === 2, {
      what: "one alert for each wait",
      forMs: 100,
    });
  });

  it("names all services that owe an undoing in one event", async () => {
    await using service = await started();
    await tell(service.dure, ["O-2"], facts.created, facts.refused);
    // The start may be heard so much earlier that payment is waited for too long before it is known to have turned.
    const alert = await waitFor(
      async () => (await alertsOf("O-2")).find(({ status }) => status === "COMPENSATING"),
      { what: "the alert" },
    );
    expect(alert.waitingFor).toEqual(["inventory", "payment"]);
    await tell(service.dure, ["O-2"], facts.released, facts.refunded);
    const outcome = await within(service.dure.sagas.outcome("O-2"), { what: "the end" });
    expect(outcome.kind).toBe("compensated");
  });

  it("says it once where four processes watch", async () => {
    await using one = await started();
    await using two = await started();
    await using three = await started();
    await using four = await started();
    const ids = Array.from({ length: 500 }, (_, n) => `W-${n}`);
    await tell(one.dure, ids, facts.created);
    await alerted("W-%", ids.length);
    await holdsFor(async () => (await alertsOf("W-%")).length === ids.length, {
      what: "one alert for each flow",
      forMs: 200,
    });
    expect(new Set((await alertsOf("W-%")).map(({ sagaId }) => sagaId)).size).toBe(ids.length);
    const lines = [one, two, three, four].flatMap(({ logs }) => logs);
    expect(lines.filter(({ message }) => /too long for/.test(message))).toHaveLength(ids.length);
  });

  it("notes nothing that it could not say, and leaves what another has in its hands", async () => {
    const store = postgresFlowStore("dure");
    {
      // One that only listens: its times are over when nobody looks.
      await using service = createTestService({
        pool: database.pool,
        service: "order",
        sagas: { flows: [impatient], flowWatchMs: 3_600_000 },
      });
      await service.dure.start();
      await tell(service.dure, ["O-3"], facts.created);
      await waitFor(
        async () =>
          (
            await database.pool.query(
              "select from dure.flow_wait where saga_id = 'O-3' and deadline_at < clock_timestamp()",
            )
          ).rowCount,
        { what: "the deadline" },
      );
    }
    const inTransaction = async (work: (client: pg.PoolClient) => Promise<void>): Promise<void> => {
      const client = await database.pool.connect();
      await client.query("begin");
      try {
        await work(client);
      } finally {
        await client.query("rollback");
        client.release();
      }
    };
    const overdue = async (client: pg.PoolClient): Promise<readonly string[]> =>
      (await store.noteOverdue(client, 10)).map(({ sagaId }) => sagaId);
    await inTransaction(async (handler) => {
      await store.open(handler, [{ definition: impatient.name, sagaId: "O-3" }]);
      await inTransaction(async (watch) => expect(await overdue(watch)).toEqual([]));
    });
    await inTransaction(async (watch) => {
      expect(await overdue(watch)).toEqual(["O-3"]);
      expect(await overdue(watch)).toEqual([]);
    });
    await inTransaction(async (watch) => expect(await overdue(watch)).toEqual(["O-3"]));
  });
});

describe("what waits for its start", () => {
  it("is held for the start by whoever comes first, known or not", async () => {
    const store = postgresFlowStore("dure");
    const name = { definition: impatient.name, sagaId: "E-1" };
    const first = await database.pool.connect();
    const second = await database.pool.connect();
    await first.query("begin");
    await second.query("begin");
    await store.open(first, [name]);
    const opening = store.open(second, [name]);
    const fact = { type: "heard", step: "payment.failed", messageId: "m", at: "now" } as const;
    await store.record(first, [], [{ ...name, fact }]);
    await first.query("commit");
    // Had it looked before it waited, it would not know this.
    expect(await opening).toMatchObject([{ instance: undefined, events: [fact] }]);
    await second.query("rollback");
    for (const client of [first, second]) client.release();
  });

  it("is held in one order: transactions that bring the same flows never deadlock", async () => {
    const store = postgresFlowStore("dure");
    const names = Array.from({ length: 20 }, (_, n) => ({
      definition: impatient.name,
      sagaId: `L-${n}`,
    }));
    const hold = async (order: typeof names): Promise<number> => {
      const client = await database.pool.connect();
      await client.query("begin");
      try {
        return (await store.open(client, order)).length;
      } finally {
        await client.query("rollback");
        client.release();
      }
    };
    for (let round = 0; round < 20; round += 1) {
      const orders = Array.from({ length: 6 }, (_, n) =>
        names.toSorted(
          (one, other) => (n % 2 === 0 ? 1 : -1) * (one.sagaId < other.sagaId ? 1 : -1),
        ),
      );
      expect(await Promise.all(orders.map(hold))).toEqual(orders.map(() => names.length));
    }
  });

  it("is forgotten after long, some at a time", async () => {
    const store = postgresFlowStore("dure");
    const early = Array.from({ length: 5 }, (_, n) => ({
      definition: "x",
      sagaId: `G-${n}`,
      fact: { type: "heard", step: "payment.failed", messageId: "m", at: "now" } as const,
    }));
    await store.record(database.pool, [], early);
    expect(await store.forgetEarly(database.pool, 3_600_000, 10)).toBe(0);
    await database.pool.query(
      "update dure.flow_early set heard_at = heard_at - interval '1 day' where definition = 'x'",
    );
    expect(await store.forgetEarly(database.pool, 3_600_000, 3)).toBe(3);
    expect(await store.forgetEarly(database.pool, 3_600_000, 3)).toBe(2);
  });
});
