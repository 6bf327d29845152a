/** A flow is followed by its events, whatever the order in which they come, and ends once. */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { saga } from "../../src/index.ts";
import type { Dure, EventDefinition, FlowDefinition, FlowEvent } from "../../src/index.ts";
import { stepSchema } from "./service-fixture.ts";
import { checkout, checkoutWithin, facts } from "../support/flows.ts";
import type { CheckoutData } from "../support/flows.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor, within } from "../support/wait-for.ts";
import { createTestService, type TestService, type TestServiceOptions } from "./service-fixture.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ name: "flow", poolSizeMax: 30 });
});
afterAll(() => database[Symbol.asyncDispose]());

type Fact = EventDefinition<CheckoutData>;

async function started(
  flows: readonly FlowDefinition[] = [checkout],
  more: Partial<TestServiceOptions> = {},
): Promise<TestService> {
  const service = createTestService({
    pool: database.pool,
    service: "order",
    sagas: { flows, flowWatchMs: 20 },
    ...more,
  });
  await service.dure.start();
  return service;
}

async function tell(
  dure: Dure<pg.PoolClient>,
  sagaId: string,
  told: readonly Fact[],
  reason?: string,
): Promise<void> {
  for (const fact of told) {
    await dure.transaction(async (tx) => tx.emit(fact, { orderId: `o-${sagaId}`, sagaId, reason }));
  }
}

async function journalOf(sagaId: string): Promise<readonly FlowEvent[]> {
  const { rows } = await database.pool.query<{ events: FlowEvent[] }>(
    "select events from dure.saga_journal where saga_id = $1 order by n",
    [sagaId],
  );
  return rows.flatMap(({ events }) => events);
}

async function heard(sagaId: string): Promise<readonly string[]> {
  return (await journalOf(sagaId)).flatMap((item) => (item.type === "heard" ? [item.step] : []));
}

/** Waits until so much was heard. */
async function untilHeard(sagaId: string, count: number): Promise<void> {
  const what = `${count} facts of ${sagaId}`;
  await waitFor(async () => (await heard(sagaId)).length >= count, { what });
}

async function waitsOf(sagaId: string): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ wait: string }>(
    "select wait from dure.flow_wait where saga_id = $1 order by wait",
    [sagaId],
  );
  return rows.map(({ wait }) => wait);
}

const cancel = [facts.paid, facts.reserved, facts.refused, facts.released, facts.refunded];

describe("following", () => {
  it("writes each event once, waits for whose turn it is, and completes", async () => {
    await using service = await started();
    const { dure } = service;
    await tell(dure, "F-1", [facts.created]);
    await untilHeard("F-1", 1);
    expect(await waitsOf("F-1")).toEqual(["payment"]);
    const { rows } = await database.pool.query(
      `select i.definition, i.version, i.business_key, i.status, i.input ->> 'event' as event,
        l.process, l.wake_at, round(extract(epoch from l.deadline_at - i.started_at))::int as seconds
       from dure.saga_instance i join dure.saga_live l using (saga_id) where saga_id = 'F-1'`,
    );
    expect(rows).toEqual([
      {
        definition: "checkout-choreographed",
        version: 1,
        business_key: "o-F-1",
        status: "RUNNING",
        event: "order.created",
        process: 0,
        wake_at: null,
        seconds: 60,
      },
    ]);
    // Told twice, each with an id of its own: the second says nothing new.
    await tell(dure, "F-1", [facts.paid, facts.paid, facts.reserved]);
    await untilHeard("F-1", 3);
    expect(await waitsOf("F-1")).toEqual(["delivery"]);
    await tell(dure, "F-1", [facts.delivered]);
    expect(await dure.sagas.outcome("F-1")).toEqual({ kind: "completed", output: undefined });
    expect((await heard("F-1")).toSorted()).toEqual(
      ["delivery.started", "order.created", "payment.completed", "stock.reserved"].toSorted(),
    );
    expect(await waitsOf("F-1")).toEqual([]);
    const live = await database.pool.query("select from dure.saga_live where saga_id = 'F-1'");
    expect(live.rowCount).toBe(0);
  });

  it("keeps what comes before the start, and counts it later", async () => {
    await using service = await started();
    await tell(service.dure, "F-2", [facts.declined], "INSUFFICIENT_FUNDS");
    await waitFor(
      async () =>
        (await database.pool.query("select from dure.flow_early where saga_id = 'F-2'")).rowCount,
      { what: "an early event" },
    );
    await expect(service.dure.sagas.outcome("F-2")).rejects.toMatchObject({
      code: "SAGA_NOT_FOUND",
    });
    await tell(service.dure, "F-2", [facts.created]);
    await untilHeard("F-2", 2);
    expect(await service.dure.sagas.outcome("F-2")).toEqual({
      kind: "compensated",
      reason: {
        code: "INSUFFICIENT_FUNDS",
        error: "payment.failed was heard",
        step: "payment",
      },
    });
    const early = await database.pool.query("select from dure.flow_early where saga_id = 'F-2'");
    expect(early.rowCount).toBe(0);
  });

  it("is compensated when everything is undone, and an answer after the end changes nothing", async () => {
    await using service = await started();
    const { dure } = service;
    await tell(dure, "F-3", [facts.created, facts.refused, facts.refunded], "DELIVERY_REFUSED");
    await untilHeard("F-3", 3);
    expect(await waitsOf("F-3")).toEqual(["stock/undone"]);
    await tell(dure, "F-3", [facts.released], "DELIVERY_REFUSED");
    const compensated = {
      kind: "compensated",
      reason: { code: "DELIVERY_REFUSED", error: "delivery.failed was heard", step: "delivery" },
    };
    expect(await dure.sagas.outcome("F-3")).toEqual(compensated);
    await tell(dure, "F-3", [facts.paid]);
    await untilHeard("F-3", 5);
    expect(await dure.sagas.outcome("F-3")).toEqual(compensated);
    expect(service.logs.filter(({ level }) => level === "error")).toEqual([]);
    await tell(dure, "F-3", [facts.delivered]);
    await untilHeard("F-3", 6);
    expect(await dure.sagas.outcome("F-3")).toEqual(compensated);
    expect(service.logs.filter(({ level }) => level === "error")).toMatchObject([
      { facts: { sagaId: "F-3", heard: "delivery.started", status: "COMPENSATED" } },
    ]);
  });

  it("ends every order of arrival alike, with two processes on five topics", async () => {
    await using one = await started();
    await using other = await started();
    const orders = permutations([facts.created, ...cancel]).filter((_, index) => index % 4 === 0);
    await Promise.all(
      orders.map(async (order, index) =>
        (index % 2 === 0 ? one : other).dure.transaction(async (tx) => {
          const sagaId = `P-${index}`;
          for (const fact of order) tx.emit(fact, { orderId: sagaId, sagaId });
        }),
      ),
    );
    const count = async (): Promise<number> => {
      const { rows } = await database.pool.query<{ count: number }>(
        `select count(*)::int as count from dure.saga_journal j
         cross join lateral json_array_elements(j.events) e
         where j.saga_id like 'P-%' and e ->> 'type' = 'heard'`,
      );
      return rows[0]?.count ?? 0;
    };
    await waitFor(async () => (await count()) >= orders.length * 6, {
      what: "all facts",
      timeoutMs: 25_000,
    });
    expect(await count()).toBe(orders.length * 6);
    const { rows } = await database.pool.query(
      `select status, count(*)::int as count, count(ended_at)::int as ended,
        (select count(*)::int from dure.saga_live where saga_id like 'P-%') as live,
        (select count(*)::int from dure.flow_wait where saga_id like 'P-%') as waits,
        (select count(*)::int from dure.flow_early where saga_id like 'P-%') as early
       from dure.saga_instance where saga_id like 'P-%' group by status`,
    );
    const all = orders.length;
    expect(rows).toEqual([
      { status: "COMPENSATED", count: all, ended: all, live: 0, waits: 0, early: 0 },
    ]);
    const { rows: gaps } = await database.pool.query(
      `select saga_id from dure.saga_journal where saga_id like 'P-%'
       group by saga_id having max(n) <> count(*)`,
    );
    expect(gaps).toEqual([]);
    const failed = [one, other].flatMap(({ logs }) => logs.filter((line) => line.level !== "info"));
    expect(failed).toEqual([]);
  });

  it("writes nothing of a transaction that is rolled back, and once what comes again", async () => {
    let left = 2;
    await using service = await started([checkout], {
      faults: {
        hit(point) {
          if (point !== "inbox.before-commit" || left === 0) return;
          left -= 1;
          throw new Error("the process dies here");
        },
      },
    });
    await tell(service.dure, "F-4", [facts.created, facts.paid]);
    await untilHeard("F-4", 2);
    expect(left).toBe(0);
    expect((await heard("F-4")).toSorted()).toEqual(["order.created", "payment.completed"]);
    expect(await waitsOf("F-4")).toEqual(["stock"]);
  });
});

describe("waiting for the end", () => {
  it("ends with the service, and goes on in another", async () => {
    const service = await started();
    await tell(service.dure, "F-6", [facts.created]);
    await untilHeard("F-6", 1);
    const waiting = service.dure.sagas.outcome("F-6").catch((error: unknown) => error);
    await service.stop();
    expect(await within(waiting, { what: "a rejection" })).toMatchObject({ code: "STOPPED" });
    await using other = await started();
    await tell(other.dure, "F-6", [facts.declined]);
    const outcome = await within(other.dure.sagas.outcome("F-6"), { what: "the end" });
    expect(outcome.kind).toBe("compensated");
  });
});

describe("beside sagas", () => {
  const definition = saga("orchestrated", { version: 1, input: stepSchema })
    .step("only", { run: async () => undefined, readOnly: true })
    .end();

  it("leaves alone what belongs to a saga, and is left alone by the engine", async () => {
    await using service = await started([checkout], {
      sagas: { definitions: [definition], flows: [checkout], pollMs: 20 },
    });
    const { dure } = service;
    const run = await dure.sagas.start(definition, { key: "k", n: 1 }, { id: "S-1" });
    expect(await run.outcome()).toMatchObject({ kind: "completed" });
    const before = await journalOf("S-1");
    // Its start must not have the id of a saga; its other events may be another's.
    await tell(dure, "S-1", [facts.paid, facts.created]);
    const letter = await waitFor(async () => (await dure.deadLetters.list())[0], {
      what: "a dead letter",
    });
    expect(letter).toMatchObject({ errorCode: "PERMANENT", type: "order.created" });
    expect(await journalOf("S-1")).toEqual(before);

    await tell(dure, "F-5", [facts.created]);
    await untilHeard("F-5", 1);
    await expect(
      dure.sagas.start(definition, { key: "k", n: 1 }, { id: "F-5" }),
    ).rejects.toMatchObject({ code: "SAGA_ID_REUSED" });
    const { rows } = await database.pool.query(
      "select dure.saga_signal_send('F-5', 'x', '{}') as is_taken",
    );
    expect(rows).toEqual([{ is_taken: false }]);
    expect(await waitsOf("F-5")).toEqual(["payment"]);
  });

  it("is refused under the name of a saga", async () => {
    const named = saga(checkout.name, { version: 1, input: stepSchema })
      .step("only", { run: async () => undefined, readOnly: true })
      .end();
    await expect(
      started([], { sagas: { definitions: [named], flows: [checkout] } }),
    ).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
  });
});

describe("versions", () => {
  it("run side by side: a flow is followed by the one under which it began", async () => {
    {
      await using before = await started([checkoutWithin({})]);
      await tell(before.dure, "V-1", [facts.created]);
      await untilHeard("V-1", 1);
    }
    await using after = await started([checkoutWithin({}, 1), checkoutWithin({}, 2)]);
    await tell(after.dure, "V-1", [facts.declined]);
    await tell(after.dure, "V-2", [facts.created]);
    await untilHeard("V-1", 2);
    await untilHeard("V-2", 1);
    const { rows } = await database.pool.query(
      "select saga_id, version, status from dure.saga_instance where saga_id like 'V-%' order by 1",
    );
    expect(rows).toEqual([
      { saga_id: "V-1", version: 1, status: "COMPENSATED" },
      { saga_id: "V-2", version: 2, status: "RUNNING" },
    ]);
  });

  it("that a process does not know wait for one that does", async () => {
    {
      await using newer = await started([checkoutWithin({}, 2)]);
      await tell(newer.dure, "V-3", [facts.created]);
      await untilHeard("V-3", 1);
    }
    {
      await using older = await started([checkoutWithin({}, 1)], {
        consumer: { pollMsMax: 100, retry: { attempts: 100, baseMs: 20, maxMs: 100 } },
      });
      await tell(older.dure, "V-3", [facts.declined]);
      const parked = "select from dure.parked_message where last_error like 'RetryableError: V-3%'";
      await waitFor(async () => (await database.pool.query(parked)).rowCount, { what: "it waits" });
    }
    await using newer = await started([checkoutWithin({}, 2)]);
    await within(newer.dure.sagas.outcome("V-3"), { what: "the end" });
  });
});

function permutations<Item>(items: readonly Item[]): readonly (readonly Item[])[] {
  if (items.length <= 1) return [items];
  return items.flatMap((item, index) =>
    permutations(items.toSpliced(index, 1)).map((rest) => [item, ...rest]),
  );
}
