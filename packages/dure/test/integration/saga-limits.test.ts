/** What a saga may not exceed, and what runs beside each other in it, on a real database. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { saga, StepRefusedError } from "../../src/index.ts";
import type { AnySagaDefinition } from "../../src/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await database.pool.query("create table effect (what text not null)");
});
afterAll(() => database[Symbol.asyncDispose]());

const input = z.object({ order: z.string() });

async function started(
  definitions: readonly AnySagaDefinition[],
  concurrency = 100,
): Promise<TestService> {
  const service = createTestService({
    pool: database.pool,
    sagas: { definitions, concurrency, pollMs: 20 },
  });
  await service.dure.start();
  return service;
}

async function effects(prefix: string): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ what: string }>(
    "select what from effect where starts_with(what, $1) order by what",
    [prefix],
  );
  return rows.map(({ what }) => what);
}

describe("a result that is too large", () => {
  const long = "x".repeat(65_536);
  const undone: string[] = [];

  it("is refused for good, and what may have happened is undone", async () => {
    let attempts = 0;
    const definition = saga("large-run", { version: 1, input })
      .step("call", {
        run: () => {
          attempts += 1;
          return Promise.resolve({ long });
        },
        compensate: ({ call }) => {
          undone.push(call.compensates);
          return Promise.resolve();
        },
      })
      .end();
    await using service = await started([definition]);
    const run = await service.dure.sagas.start(definition, { order: "o" }, { id: "L-run" });
    expect(await run.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "STEP_RESULT_INVALID", step: "call" },
    });
    expect([attempts, undone]).toEqual([1, ["L-run-call"]]);
  });

  it("takes the rest of a step's own transaction with it", async () => {
    const definition = saga("large-local", { version: 1, input })
      .step("write", {
        local: async ({ tx }) => {
          await tx.query("insert into effect values ($1)", ["large"]);
          return { long };
        },
        compensate: async ({ tx }) => {
          await tx.query("insert into effect values ($1)", ["large undone"]);
        },
      })
      .end();
    await using service = await started([definition]);
    const run = await service.dure.sagas.start(definition, { order: "o" }, { id: "L-local" });
    expect(await run.outcome()).toMatchObject({ reason: { code: "STEP_RESULT_INVALID" } });
    expect(await effects("large")).toEqual([]);
  });

  it("fits where it just fits, and reads the same after a restart", async () => {
    const fitting = "x".repeat(65_536 - 2);
    const definition = saga("fitting", { version: 1, input })
      .step("call", { run: () => Promise.resolve(fitting), compensate: () => Promise.resolve() })
      .output(({ results }) => results.call.length);
    await using service = await started([definition]);
    const run = await service.dure.sagas.start(definition, { order: "o" }, { id: "L-fits" });
    expect(await run.outcome()).toEqual({ kind: "completed", output: fitting.length });
  });
});

describe("steps beside each other", () => {
  it("all settle before any is undone, the last declared first, each in its own way", async () => {
    const order: string[] = [];
    const slow = Promise.withResolvers<void>();
    const note = (text: string) => ({
      text: "insert into effect values ($1)",
      params: [text],
    });
    const definition = saga("beside", { version: 1, input })
      .step("before", {
        run: () => Promise.resolve("b"),
        compensate: () => {
          order.push("undo before");
          return Promise.resolve();
        },
      })
      .parallel("all", (group) =>
        group
          .step("called", {
            run: async () => {
              await slow.promise;
              order.push("called");
            },
            compensate: () => {
              order.push("undo called");
              return Promise.resolve();
            },
          })
          .step("refusing", {
            run: () => {
              order.push("refused");
              return Promise.reject(new StepRefusedError("NO", "no"));
            },
            compensate: () => {
              order.push("undo refusing");
              return Promise.resolve();
            },
          })
          .step("written", {
            local: async ({ tx }) => {
              await tx.query("insert into effect values ($1)", ["beside written"]);
            },
            compensate: async ({ tx }) => {
              order.push("undo written");
              await tx.query("delete from effect where what = $1", ["beside written"]);
            },
          })
          .step("stated", {
            statement: () => note("beside stated"),
            compensate: () => {
              order.push("undo stated");
              return { text: "delete from effect where what = $1", params: ["beside stated"] };
            },
          }),
      )
      .end();
    await using service = await started([definition]);
    const run = await service.dure.sagas.start(definition, { order: "o" }, { id: "B-1" });
    await waitFor(async () => (await effects("beside")).length === 2, { what: "both rows" });
    expect(order).toEqual(["refused"]);
    slow.resolve();
    expect(await run.outcome()).toMatchObject({ kind: "compensated", reason: { code: "NO" } });
    expect(order).toEqual([
      "refused",
      "called",
      "undo stated",
      "undo written",
      "undo called",
      "undo before",
    ]);
    expect(await effects("beside")).toEqual([]);
  });
});

describe("starts over the limit", () => {
  it("are durable at once, wait for room, and end once each", async () => {
    const gate = Promise.withResolvers<void>();
    const attempts: string[] = [];
    let running = 0;
    let most = 0;
    const definition = saga("many", { version: 1, input })
      .step("work", {
        run: async ({ input: { order } }) => {
          attempts.push(order);
          running += 1;
          most = Math.max(most, running);
          await gate.promise;
          running -= 1;
        },
        compensate: () => Promise.resolve(),
      })
      .end();
    await using service = await started([definition], 3);
    const orders = Array.from({ length: 12 }, (_, index) => `O-${index}`);
    const runs = await Promise.all(
      orders.map((order) => service.dure.sagas.start(definition, { order }, { id: order })),
    );
    expect(runs.map(({ isNew }) => isNew)).toEqual(orders.map(() => true));
    const { rows } = await database.pool.query<{ count: number }>(
      "select count(*)::integer as count from dure.saga_live where definition = 'many'",
    );
    expect(rows[0]?.count).toBe(12);
    await waitFor(() => attempts.length === 3, { what: "three attempts" });
    gate.resolve();
    const outcomes = await Promise.all(runs.map((run) => run.outcome()));
    expect(outcomes.map(({ kind }) => kind)).toEqual(orders.map(() => "completed"));
    expect(attempts.toSorted()).toEqual(orders.toSorted());
    expect(most).toBe(3);
  });
});
