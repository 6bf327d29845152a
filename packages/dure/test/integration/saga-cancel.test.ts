/** A saga is canceled before its pivot, once, and not after it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { createSagaControl } from "../../src/admin/index.ts";
import { saga } from "../../src/index.ts";
import { postgresAdmin } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ name: "saga_cancel" });
});
afterAll(() => database[Symbol.asyncDispose]());

const undone: string[] = [];
let gate = Promise.withResolvers<void>();
let reached = Promise.withResolvers<string>();

/** Waits at the gate where its input says. */
const definition = saga("gated", {
  version: 1,
  input: z.object({ at: z.enum(["before", "pivot"]) }),
})
  .step("reserve", {
    run: async () => "r1",
    compensate: async ({ call }) => void undone.push(call.sagaId),
  })
  .step("prepare", {
    run: async ({ input, call }) => {
      if (input.at !== "before") return;
      reached.resolve(call.step);
      await gate.promise;
    },
    readOnly: true,
  })
  .pivot("pay", {
    run: async ({ input, call }) => {
      if (input.at !== "pivot") return;
      reached.resolve(call.step);
      await gate.promise;
    },
  })
  .end();

async function started(): Promise<TestService> {
  undone.length = 0;
  gate = Promise.withResolvers();
  reached = Promise.withResolvers();
  const service = createTestService({
    pool: database.pool,
    sagas: { definitions: [definition] },
  });
  await service.dure.start();
  return service;
}

const by = { actor: "customer 7", reason: "CHANGED_MIND" };

describe("cancel", () => {
  it("undoes a saga before its pivot, and pressing twice does it once", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    const run = await sagas.start(definition, { at: "before" }, { id: "C-1" });
    await reached.promise;
    expect(await sagas.cancel("C-1", by)).toEqual({ kind: "accepted" });
    expect(await sagas.cancel("C-1", by)).toEqual({ kind: "accepted" });
    await waitFor(
      async () => {
        const { rowCount } = await database.pool.query(
          "select from dure.saga_event where saga_id = 'C-1' and type = 'commanded'",
        );
        return rowCount;
      },
      { what: "the owner to take the request" },
    );
    gate.resolve();
    expect(await run.outcome()).toEqual({
      kind: "compensated",
      reason: { code: "CHANGED_MIND", error: "canceled by customer 7" },
    });
    expect(undone).toEqual(["C-1"]);
    expect(await sagas.cancel("C-1", by)).toEqual({ kind: "ended", status: "COMPENSATED" });
  });

  it("comes too late when the pivot has begun, and the saga completes", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    const run = await sagas.start(definition, { at: "pivot" }, { id: "C-2" });
    await reached.promise;
    expect(await sagas.cancel("C-2", by)).toEqual({ kind: "too-late" });
    // A process that does not know the definition cannot say so: the owner does.
    const { sagas: store } = postgresAdmin({ pool: database.pool });
    const shell = createSagaControl({ store, plans: new Map(), onCommand: () => undefined });
    expect(await shell.compensate("C-2", by)).toBe(true);
    await waitFor(
      async () => (await shell.get("C-2")).journal.some(({ type }) => type === "command-refused"),
      { what: "the owner to refuse it" },
    );
    gate.resolve();
    expect(await run.outcome()).toMatchObject({ kind: "completed" });
    expect(undone).toEqual([]);
  });

  it("commits with the caller's transaction, also for a saga that it starts itself", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    gate.resolve();
    await service.dure.transaction(async (tx) => {
      await sagas.start(definition, { at: "before" }, { id: "C-3", tx });
      expect(await sagas.cancel("C-3", { ...by, tx })).toEqual({ kind: "accepted" });
    });
    expect(await sagas.outcome("C-3")).toMatchObject({ kind: "compensated" });
    const doomed = service.dure.transaction(async (tx) => {
      await sagas.start(definition, { at: "before" }, { id: "C-4", tx });
      await sagas.cancel("C-4", { ...by, tx });
      throw new Error("no");
    });
    await expect(doomed).rejects.toThrow("no");
    await expect(sagas.cancel("C-4", by)).rejects.toMatchObject({ code: "SAGA_NOT_FOUND" });
  });

  it("names what is missing", async () => {
    await using service = await started();
    const { sagas } = service.dure;
    await expect(sagas.cancel("C-1", { ...by, actor: " " })).rejects.toThrow(/^actor: /);
    await expect(sagas.cancel("C-1", { ...by, reason: "" })).rejects.toThrow(/^reason: /);
  });
});
