/** An end that no step can tell is told with it: an operator resolved a saga or a flow, or nothing of it had begun. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { PermanentError, saga } from "../../src/index.ts";
import type { SagaClosedData } from "../../src/index.ts";
import { postgresFlowStore } from "../../src/postgres/flow-store.ts";
import { checkout, facts } from "../support/flows.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor, within } from "../support/wait-for.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ name: "closing", poolSizeMax: 20 });
});
afterAll(() => database[Symbol.asyncDispose]());

const definition = saga("single", { version: 1, input: z.object({ isBroken: z.boolean() }) })
  .pivot("pay", {
    run: async ({ input }) => {
      if (input.isBroken) throw new PermanentError("it is broken");
    },
  })
  .end();

async function started(): Promise<TestService> {
  const service = createTestService({
    pool: database.pool,
    service: "order",
    sagas: { definitions: [definition], flows: [checkout], flowWatchMs: 10 },
  });
  await service.dure.start();
  return service;
}

async function tell(
  { dure }: TestService,
  sagaId: string,
  ...told: readonly (typeof facts)[keyof typeof facts][]
): Promise<void> {
  await dure.transaction(async (tx) => {
    for (const fact of told) tx.emit(fact, { orderId: `o-${sagaId}`, sagaId });
  });
}

async function follows({ dure }: TestService, sagaId: string, journal: number): Promise<void> {
  await waitFor(
    async () => {
      const found = await dure.sagas.get(sagaId).catch(() => undefined);
      return (found?.journal.length ?? 0) >= journal;
    },
    { what: `${journal} events of ${sagaId}` },
  );
}

async function closedOf(sagaId: string): Promise<readonly SagaClosedData[]> {
  const { rows } = await database.pool.query<{ data: string }>(
    `select data from dure.log_message where topic = 'alert' and data::jsonb ? 'actor'
     and data::json ->> 'sagaId' = $1 order by position`,
    [sagaId],
  );
  return rows.map(({ data }) => JSON.parse(data) as SagaClosedData);
}

async function isClosed(sagaId: string): Promise<SagaClosedData> {
  await waitFor(async () => (await closedOf(sagaId)).length, { what: `the end of ${sagaId}` });
  const closed = await closedOf(sagaId);
  expect(closed).toHaveLength(1);
  return closed[0] as SagaClosedData;
}

async function rows(sql: string): Promise<readonly object[]> {
  return (await database.pool.query<object>(sql)).rows;
}

const by = { actor: "ada", reason: "delivered by hand" };

describe("a flow that an operator resolves", () => {
  it("ends once, is told and audited, and waits for nothing more", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    await tell(service, "F-1", facts.created, facts.paid);
    await follows(service, "F-1", 2);
    const asked = await Promise.all([
      sagas.resolve("F-1", { ...by, as: "COMPLETED" }),
      sagas
        .resolve("F-1", { ...by, as: "COMPLETED" })
        .catch(({ code }: Error & { code: string }) => code),
    ]);
    // The second finds the first one waiting, or the end.
    expect(asked[0] === true || asked[1] === true).toBe(true);
    expect([true, false, "SAGA_COMMAND_REFUSED"]).toContain(asked[1]);
    expect(await within(sagas.outcome("F-1"), { what: "the end" })).toMatchObject({
      kind: "completed",
    });
    expect(await isClosed("F-1")).toEqual({
      sagaId: "F-1",
      definition: "checkout-choreographed",
      version: 1,
      status: "COMPLETED",
      code: "RESOLVED",
      error: "delivered by hand",
      actor: "ada",
    });
    expect(await rows("select from dure.flow_wait where saga_id = 'F-1'")).toEqual([]);
    expect(await rows("select from dure.saga_live where saga_id = 'F-1'")).toEqual([]);
    expect(await rows("select from dure.saga_signal where saga_id = 'F-1'")).toEqual([]);
    expect(
      await rows(
        "select actor, action, reason from dure.audit_entry where subject like 'saga/F-1%'",
      ),
    ).toEqual([{ actor: "ada", action: "saga.resolve", reason: "delivered by hand" }]);
    await expect(sagas.resolve("F-1", { ...by, as: "COMPENSATED" })).rejects.toMatchObject({
      code: "SAGA_COMMAND_REFUSED",
      message: "cannot resolve saga F-1: it has ended as COMPLETED",
    });
  });

  it("stays as it was ended, whatever is heard of it afterwards", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    await tell(service, "F-2", facts.created);
    await follows(service, "F-2", 1);
    await sagas.resolve("F-2", { ...by, as: "COMPENSATED" });
    expect(await within(sagas.outcome("F-2"), { what: "the end" })).toMatchObject({
      kind: "compensated",
      reason: { code: "RESOLVED" },
    });
    await tell(service, "F-2", facts.paid);
    await follows(service, "F-2", 4);
    expect((await sagas.get("F-2")).status).toBe("COMPENSATED");
    expect(await sagas.outcome("F-2")).toMatchObject({ kind: "compensated" });
    const said = () => service.logs.filter(({ message }) => message.includes("contradicts"));
    // What was missing is heard late: that is why it was ended by hand.
    expect(said()).toEqual([]);
    await tell(service, "F-2", facts.reserved, facts.delivered);
    await waitFor(() => said().length, { what: "the contradiction" });
    expect(await closedOf("F-2")).toHaveLength(1);
  });

  it("that ends by itself meanwhile takes the command with it, and nobody is told twice", async () => {
    const store = postgresFlowStore("dure");
    await using service = await started();
    await tell(service, "F-3", facts.created);
    await follows(service, "F-3", 1);
    // Somebody hears of it just now.
    await service.dure.transaction(async (tx) => {
      await store.open(tx, [{ definition: checkout.name, sagaId: "F-3" }]);
      await service.dure.sagas.resolve("F-3", { ...by, as: "COMPENSATED" });
      await holdsFor(async () => (await closedOf("F-3")).length === 0, {
        what: "the flow in its hands",
        forMs: 100,
      });
      const completed = { type: "completed" } as const;
      const entry = { definition: checkout.name, version: 1, sagaId: "F-3", events: [completed] };
      await store.record(tx, [{ ...entry, status: "COMPLETED", isEnd: true, waits: [] }], []);
    });
    await waitFor(async () => (await rows("select from dure.saga_signal")).length === 0, {
      what: "no command to be left",
    });
    expect((await service.dure.sagas.get("F-3")).status).toBe("COMPLETED");
    await holdsFor(async () => (await closedOf("F-3")).length === 0, {
      what: "no word of an operator's end",
      forMs: 100,
    });
  });

  it("takes no other command, for nobody drives it", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    await tell(service, "F-4", facts.created);
    await follows(service, "F-4", 1);
    for (const refused of [
      () => sagas.retry("F-4", by),
      () => sagas.compensate("F-4", by),
      () => sagas.skip("F-4", "payment", by),
      () => sagas.cancel("F-4", by),
    ]) {
      await expect(refused()).rejects.toMatchObject({ code: "SAGA_COMMAND_REFUSED" });
      await expect(refused()).rejects.toThrow("it is a flow");
    }
    expect(await rows("select from dure.saga_signal")).toEqual([]);
  });
});

describe("a saga", () => {
  it("that was parked tells, behind its alert, as what an operator has ended it", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    const run = await sagas.start(definition, { isBroken: true }, { id: "P-1" });
    expect(await run.outcome()).toMatchObject({ kind: "parked" });
    await sagas.resolve("P-1", { ...by, as: "COMPLETED" });
    expect(await isClosed("P-1")).toMatchObject({ status: "COMPLETED", actor: "ada" });
    expect(
      await rows(
        `select data::jsonb ? 'actor' as is_closed from dure.log_message where topic = 'alert'
         and data::json ->> 'sagaId' = 'P-1' order by position`,
      ),
    ).toEqual([{ is_closed: false }, { is_closed: true }]);
  });

  it("that is canceled before its first step ends compensated, and that is told", async () => {
    await using service = await started();
    const { dure } = service;
    await dure.transaction(async (tx) => {
      await dure.sagas.start(definition, { isBroken: false }, { id: "P-2", tx });
      // Read in the same transaction: nobody else sees the saga yet.
      const canceled = await dure.sagas.cancel("P-2", { actor: "ada", reason: "NO_MORE", tx });
      expect(canceled).toEqual({ kind: "accepted" });
    });
    expect(await dure.sagas.outcome("P-2")).toMatchObject({
      kind: "compensated",
      reason: { code: "NO_MORE" },
    });
    expect(await isClosed("P-2")).toEqual({
      sagaId: "P-2",
      definition: "single",
      version: 1,
      status: "COMPENSATED",
      code: "NO_MORE",
      error: "canceled by ada",
      actor: null,
    });
  });

  it("that its steps have ended is told by them alone", async () => {
    await using service = await started();
    const run = await service.dure.sagas.start(definition, { isBroken: false }, { id: "P-3" });
    expect(await run.outcome()).toMatchObject({ kind: "completed" });
    await holdsFor(async () => (await closedOf("P-3")).length === 0, {
      what: "no word of it",
      forMs: 100,
    });
  });
});

describe("the deadline of a saga that a process drives", () => {
  let gate = Promise.withResolvers<void>();
  let reached = Promise.withResolvers<void>();
  const gated = (name: string, deadlineMs: number) =>
    saga(name, { version: 1, input: z.object({}), deadlineMs })
      .step("wait", {
        run: async () => {
          reached.resolve();
          await gate.promise;
        },
        compensate: async () => undefined,
      })
      .step("then", { run: async () => undefined, compensate: async () => undefined })
      .end();
  const soon = gated("soon", 3_000);
  const late = gated("late", 7_200_000);

  async function driven(
    which: typeof soon,
    id: string,
    at: Date | null,
  ): Promise<{ readonly outcome: Promise<unknown>; readonly service: TestService }> {
    gate = Promise.withResolvers();
    reached = Promise.withResolvers();
    const service = createTestService({
      pool: database.pool,
      sagas: { definitions: [soon, late], pollMs: 20 },
    });
    await service.dure.start();
    const run = await service.dure.sagas.start(which, {}, { id });
    await reached.promise;
    expect(await service.dure.sagas.timers.moveDeadline(id, { ...by, at })).toBe(true);
    expect(await service.dure.sagas.timers.moveDeadline(id, { ...by, at })).toBe(false);
    await waitFor(async () => (await rows("select from dure.saga_signal")).length === 0, {
      what: "its owner to take it",
    });
    return { outcome: run.outcome(), service };
  }

  it("is moved there, and passes when it is over", async () => {
    const { outcome, service } = await driven(late, "D-1", new Date("2026-01-01T00:00:00Z"));
    await using _ = service;
    gate.resolve();
    expect(await within(outcome, { what: "the end" })).toMatchObject({
      kind: "compensated",
      reason: { code: "TIMED_OUT" },
    });
  });

  it("is taken away, and nothing happens when it would have passed", async () => {
    const { outcome, service } = await driven(soon, "D-2", null);
    await using _ = service;
    const isOver = `select from dure.saga_instance
      where saga_id = 'D-2' and started_at < clock_timestamp() - interval '3100 ms'`;
    await waitFor(async () => (await rows(isOver)).length === 1, { what: "the old deadline" });
    gate.resolve();
    expect(await within(outcome, { what: "the end" })).toMatchObject({ kind: "completed" });
  });
});

it("cancel in a transaction reads on its connection, and needs no second one", async () => {
  await using service = await started();
  const { dure } = service;
  const run = await dure.sagas.start(definition, { isBroken: true }, { id: "C-1" });
  await run.outcome();
  const canceled = dure.transaction(async (tx) => {
    // Nobody else can read it now.
    await tx.client.query("lock table dure.saga_instance in access exclusive mode");
    return dure.sagas.cancel("C-1", { actor: "ada", reason: "R", tx });
  });
  expect(await within(canceled, { what: "the answer", timeoutMs: 5_000 })).toMatchObject({
    kind: "ended",
  });
});
