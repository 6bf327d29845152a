/** What fails for good in a saga is seen from outside, and an operator brings it to an end: once, by name, with a reason. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { PermanentError, RetryableError, saga } from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ name: "saga_operators" });
});
afterAll(() => database[Symbol.asyncDispose]());

/** Steps and compensations that fail for good now. */
const broken = new Set<string>();
const done: string[] = [];

async function act(what: string): Promise<string> {
  if (broken.has(what)) throw new PermanentError(`${what} is broken`);
  done.push(what);
  return `${what}!`;
}

const definition = saga("checkout", {
  version: 1,
  input: z.object({ order: z.string() }),
  key: ({ order }) => order,
})
  .step("reserve", {
    run: () => act("reserve"),
    compensate: async () => void (await act("release")),
  })
  .step("hold", { run: () => act("hold"), compensate: async () => void (await act("unhold")) })
  .step("coupon", {
    run: () => act("coupon"),
    compensate: async () => void (await act("uncoupon")),
  })
  .step("check", { run: () => act("check"), readOnly: true })
  .pivot("pay", { run: () => act("pay") })
  .step("ship", { run: () => act("ship") })
  .step("tell", { run: async ({ results }) => act(`tell ${results.ship}`) })
  .end();

/** Waits for its second attempt for an hour. */
const slow = saga("slow", { version: 1, input: z.object({}), deadlineMs: 7_200_000 })
  .step("wait", {
    run: async () => {
      if (broken.has("wait")) throw new RetryableError("not yet", { retryAfterMs: 3_600_000 });
    },
    compensate: async () => undefined,
  })
  .end();

async function started(...whatIsBroken: string[]): Promise<TestService> {
  done.length = 0;
  broken.clear();
  for (const what of whatIsBroken) broken.add(what);
  const service = createTestService({
    pool: database.pool,
    sagas: { definitions: [definition, slow] },
  });
  await service.dure.start();
  return service;
}

async function parked({ dure }: TestService, id: string): Promise<void> {
  const run = await dure.sagas.start(definition, { order: `order of ${id}` }, { id });
  expect(await run.outcome()).toMatchObject({ kind: "parked" });
}

async function audit(sagaId: string): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ line: string }>(
    `select actor || ' ' || action || ' ' || subject || ': ' || reason as line
    from dure.audit_entry where subject like $1 order by id`,
    [`saga/${sagaId}%`],
  );
  return rows.map(({ line }) => line);
}

async function ended({ dure }: TestService, id: string, status: string): Promise<void> {
  await waitFor(async () => (await dure.sagas.get(id)).status === status, {
    what: `saga ${id} to be ${status}`,
  });
}

const by = { actor: "ada", reason: "provider is back" };

describe("a failing compensation", () => {
  it("is seen, named and owed; the others have run, and a retry ends it once", async () => {
    await using service = await started("check", "unhold");
    const { sagas, deadLetters } = service.dure;
    await parked(service, "P-1");
    expect(done).toEqual(["reserve", "hold", "coupon", "uncoupon", "release"]);
    const details = await sagas.get("P-1");
    expect(details).toMatchObject({
      status: "COMPENSATION_FAILED",
      businessKey: "order of P-1",
      reason: { code: "PERMANENT", step: "check" },
      promised: ["reserve", "hold", "coupon"],
      undone: ["reserve", "coupon"],
      owed: ["hold"],
      process: null,
      isKnown: true,
    });
    expect(details.steps.map(({ name, phase }) => `${name} ${phase}`)).toEqual([
      "reserve undone",
      "hold undo-failed",
      "coupon undone",
      "check given-up",
    ]);
    expect(JSON.stringify(details)).not.toContain("reserve!");
    const alerts = await database.pool.query(
      "select data::text from dure.outbox_message where type = 'alert.saga-parked' and key = 'P-1'",
    );
    expect(alerts.rows).toHaveLength(1);
    expect(service.logs.filter(({ level }) => level === "error")).toMatchObject([
      { facts: { sagaId: "P-1", status: "COMPENSATION_FAILED", owed: "hold" } },
    ]);
    expect(await service.dure.status()).toMatchObject({ deadLetters: 1, parkedSagas: 1 });
    expect(await deadLetters.list()).toMatchObject([
      { id: "saga/P-1", side: "saga", step: "hold", errorCode: "PERMANENT", attempts: 1 },
    ]);
    broken.clear();
    const answers = await Promise.all([sagas.retry("P-1", by), sagas.retry("P-1", by)]);
    expect(answers.toSorted()).toEqual([false, true]);
    await ended(service, "P-1", "COMPENSATED");
    expect(done.filter((what) => what === "unhold")).toHaveLength(1);
    expect(await audit("P-1")).toEqual(["ada saga.retry saga/P-1: provider is back"]);
    expect((await sagas.get("P-1")).journal).toContainEqual(
      expect.objectContaining({ type: "commanded", text: "retry by ada: provider is back" }),
    );
    await expect(sagas.retry("P-1", by)).rejects.toMatchObject({
      code: "SAGA_COMMAND_REFUSED",
      message: expect.stringContaining("it has ended as COMPENSATED") as string,
    });
    expect(await service.dure.status()).toMatchObject({ deadLetters: 0, parkedSagas: 0 });
  });

  it("is skipped when someone has seen to it outside", async () => {
    await using service = await started("check", "unhold");
    const { sagas } = service.dure;
    await parked(service, "P-2");
    await expect(sagas.skip("P-2", "coupon", by)).rejects.toThrow(/"coupon" is not owed/);
    expect(await sagas.skip("P-2", "hold", by)).toBe(true);
    await ended(service, "P-2", "COMPENSATED");
    expect(await audit("P-2")).toEqual(["ada saga.skip saga/P-2/hold: provider is back"]);
    expect((await sagas.get("P-2")).undone).toEqual(["reserve", "hold", "coupon"]);
  });

  it("is redriven among the dead letters, and cannot be discarded", async () => {
    await using service = await started("check", "unhold");
    const { deadLetters } = service.dure;
    await parked(service, "P-3");
    await expect(deadLetters.discard({ id: "saga/P-3" }, by)).rejects.toMatchObject({
      code: "SAGA_COMMAND_REFUSED",
    });
    await expect(deadLetters.redrive({ id: "saga/none" }, by)).rejects.toMatchObject({
      code: "DEAD_LETTER_NOT_FOUND",
    });
    broken.clear();
    expect(await deadLetters.redrive({ side: "saga" }, by)).toBe(1);
    await ended(service, "P-3", "COMPENSATED");
  });
});

describe("a saga that is stuck after its pivot", () => {
  it("goes on with the result that an operator gives for the step", async () => {
    await using service = await started("ship");
    await parked(service, "F-1");
    await service.dure.sagas.skip("F-1", "ship", { ...by, result: "by hand" });
    await ended(service, "F-1", "COMPLETED");
    expect(done).toContain("tell by hand");
  });

  it("is undone on an operator's word", async () => {
    await using service = await started("ship");
    await parked(service, "F-2");
    await service.dure.sagas.compensate("F-2", by);
    await ended(service, "F-2", "COMPENSATED");
    expect(done.slice(-3)).toEqual(["uncoupon", "unhold", "release"]);
  });

  it("ends as an operator says, and no more is run", async () => {
    await using service = await started("ship");
    await parked(service, "F-3");
    const before = done.length;
    expect(await service.dure.sagas.resolve("F-3", { ...by, as: "COMPLETED" })).toBe(true);
    await ended(service, "F-3", "COMPLETED");
    expect(done).toHaveLength(before);
    expect(await service.dure.sagas.outcome("F-3")).toMatchObject({ kind: "completed" });
  });

  it("takes one of two operators who want different things", async () => {
    await using service = await started("ship");
    await parked(service, "F-4");
    const { sagas } = service.dure;
    const answers = await Promise.allSettled([
      sagas.compensate("F-4", { actor: "ada", reason: "refund" }),
      sagas.resolve("F-4", { actor: "bob", reason: "shipped by hand", as: "COMPLETED" }),
    ]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect(await audit("F-4")).toHaveLength(1);
    await waitFor(async () => /^COMP(LETED|ENSATED)$/.test((await sagas.get("F-4")).status), {
      what: "the end",
    });
  });
});

describe("timers", () => {
  it("are listed, moved, fired and taken away, each with its entry in the audit log", async () => {
    await using service = await started("wait");
    const { sagas } = service.dure;
    await sagas.start(slow, {}, { id: "T-1" });
    await waitFor(async () => (await sagas.timers.list()).length, { what: "it to wait" });
    const [timer] = await sagas.timers.list({ definition: "slow" });
    expect(timer).toMatchObject({ sagaId: "T-1", status: "RUNNING" });
    const wakeAt = Date.parse(timer?.wakeAt ?? "");
    const inMinutes = (wakeAt - Date.parse((await sagas.get("T-1")).startedAt)) / 60_000;
    expect(inMinutes).toBeGreaterThan(20);
    expect(await sagas.timers.moveDeadline("T-1", { ...by, at: null })).toBe(true);
    expect(await sagas.timers.moveDeadline("T-1", { ...by, at: null })).toBe(false);
    const at = new Date(wakeAt + 3_600_000);
    expect(await sagas.timers.move("T-1", { ...by, at })).toBe(true);
    await waitFor(
      async () => {
        const [moved] = await sagas.timers.list();
        return moved !== undefined && Math.abs(Date.parse(moved.wakeAt) - at.getTime()) < 5_000;
      },
      { what: "it to be moved" },
    );
    broken.clear();
    expect(await sagas.retry("T-1", by)).toBe(true);
    await ended(service, "T-1", "COMPLETED");
    expect(await audit("T-1")).toEqual([
      "ada saga.cancel-deadline saga/T-1: provider is back",
      `ada saga.retry saga/T-1/${at.getTime()}: provider is back`,
      "ada saga.retry saga/T-1: provider is back",
    ]);
  });
});

describe("lists", () => {
  it("give pages, the newest first, by definition, status and business key", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    for (const n of [1, 2, 3, 4, 5]) {
      const run = await sagas.start(
        definition,
        { order: n % 2 === 0 ? "even" : "odd" },
        { id: `L-${n}` },
      );
      await run.outcome();
    }
    const first = await sagas.list({ definition: "checkout", limit: 3 });
    expect(first.sagas.map(({ sagaId }) => sagaId)).toEqual(["L-5", "L-4", "L-3"]);
    const second = await sagas.list({
      definition: "checkout",
      limit: 2,
      cursor: first.cursor ?? "",
    });
    expect(second.sagas.map(({ sagaId }) => sagaId)).toEqual(["L-2", "L-1"]);
    const odd = await sagas.list({ businessKey: "odd" });
    expect(odd).toMatchObject({
      sagas: [{ sagaId: "L-5" }, { sagaId: "L-3" }, { sagaId: "L-1" }],
      cursor: null,
    });
    await database.pool.query(
      "update dure.saga_instance set started_at = started_at - interval '40 days' where saga_id like 'L-%'",
    );
    const { sagas: old } = await sagas.list({ status: "COMPLETED", limit: 1_000 });
    expect(old.map(({ sagaId }) => sagaId).slice(-5)).toEqual(["L-5", "L-4", "L-3", "L-2", "L-1"]);
    expect((await sagas.list({ status: "FAILED" })).sagas).toEqual([]);
    await database.pool.query(
      "update dure.saga_instance set ended_at = ended_at - interval '40 days' where saga_id like 'L-%'",
    );
    const retention = { sagasMs: 86_400_000 };
    await postgresStore({ pool: database.pool, retention }).maintain();
    const short = { sagasMs: 3_600_000 };
    expect(() => postgresStore({ pool: database.pool, retention: short })).toThrow(
      /retention\.sagasMs: .* from 86400000/,
    );
    await expect(sagas.get("L-1")).rejects.toMatchObject({ code: "SAGA_NOT_FOUND" });
  });
});

describe("bad input", () => {
  it("is refused by name, before anything is written", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    await expect(sagas.retry("X", { actor: "", reason: "r" })).rejects.toThrow(/^actor: /);
    await expect(sagas.retry("X", { actor: "a", reason: " " })).rejects.toThrow(/^reason: /);
    await expect(sagas.retry("X", by)).rejects.toMatchObject({ code: "SAGA_NOT_FOUND" });
    await expect(sagas.skip("X", "", by)).rejects.toThrow(/^step: /);
    await expect(sagas.resolve("X", { ...by, as: "FINE" as "COMPLETED" })).rejects.toThrow(/^as: /);
    await expect(sagas.list({ limit: 0 })).rejects.toThrow(/^limit: /);
    await expect(sagas.list({ cursor: "x" })).rejects.toThrow(/^cursor: /);
    await expect(sagas.timers.move("X", { ...by, at: new Date(Number.NaN) })).rejects.toThrow(
      /^at: /,
    );
  });
});
