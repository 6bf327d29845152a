/** A saga ends completed, compensated or parked, and its journal says how. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { PermanentError, saga, StepRefusedError } from "../../src/index.ts";
import type { AnySagaDefinition } from "../../src/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await database.pool.query(
    "create table effect (n bigint generated always as identity, what text not null)",
  );
});
afterAll(() => database[Symbol.asyncDispose]());

const calls: string[] = [];
const input = z.object({ order: z.string() });

async function started(...definitions: AnySagaDefinition[]): Promise<TestService> {
  calls.length = 0;
  const service = createTestService({ pool: database.pool, sagas: { definitions } });
  await service.dure.start();
  return service;
}

describe("a saga", () => {
  it("runs its steps in order, hands results on, and completes with its output", async () => {
    const definition = saga("plain", { version: 1, input, key: ({ order }) => order })
      .step("first", {
        run: async ({ input: { order }, call }) => {
          calls.push(call.key);
          return { ref: `${order}-1` };
        },
        compensate: async () => undefined,
      })
      .step("second", {
        run: async ({ results }) => `${results.first.ref}-2`,
        compensate: async () => undefined,
      })
      .output(({ results }) => ({ all: results.second }));
    await using service = await started(definition);
    const run = await service.dure.sagas.start(definition, { order: "o1" }, { id: "S-1" });
    expect(await run.outcome()).toEqual({ kind: "completed", output: { all: "o1-1-2" } });
    expect(calls).toEqual(["S-1-first"]);
  });

  it("is compensated in reverse when a step refuses", async () => {
    const step = (name: string) => ({
      run: async () => {
        calls.push(name);
      },
      compensate: async ({ call }: { call: { compensates: string } }) => {
        calls.push(`undo ${call.compensates}`);
      },
    });
    const definition = saga("refused", { version: 1, input })
      .step("a", step("a"))
      .step("b", step("b"))
      .step("c", {
        run: async () => {
          throw new StepRefusedError("OUT_OF_STOCK", "there is none");
        },
        compensate: async () => {
          calls.push("undo c");
        },
      })
      .end();
    await using service = await started(definition);
    const run = await service.dure.sagas.start(definition, { order: "o1" }, { id: "S-2" });
    expect(await run.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "OUT_OF_STOCK", step: "c" },
    });
    expect(calls).toEqual(["a", "b", "undo S-2-b", "undo S-2-a"]);
  });

  it("tells its compensations why it is undone", async () => {
    const definition = saga("why", { version: 1, input })
      .step("a", {
        run: async () => undefined,
        compensate: async ({ reason }) => {
          calls.push(`${reason.code} of ${reason.step}`);
        },
      })
      .step("b", {
        run: async () => {
          throw new StepRefusedError("OUT_OF_STOCK", "there is none");
        },
        compensate: async () => undefined,
      })
      .end();
    await using service = await started(definition);
    const run = await service.dure.sagas.start(definition, { order: "o1" }, { id: "S-why" });
    await run.outcome();
    expect(calls).toEqual(["OUT_OF_STOCK of b"]);
  });

  it("commits a local step together with its journal record", async () => {
    const definition = saga("local", { version: 1, input })
      .step("insert", {
        local: async ({ tx, input: { order } }) => {
          await tx.query("insert into effect (what) values ($1)", [order]);
          return { order };
        },
        compensate: async ({ tx, result }) => {
          await tx.query("insert into effect (what) values ($1)", [`undo ${result.order}`]);
        },
      })
      .step("one", {
        statement: ({ input: { order } }) => ({
          text: "insert into effect (what) values ($1)",
          params: [`one ${order}`],
        }),
        compensate: () => ({ text: "delete from effect where what like 'one %'", params: [] }),
      })
      .step("fails", {
        local: async ({ tx }) => {
          await tx.query("insert into effect (what) values ('never')");
          throw new PermanentError("no");
        },
      })
      .end();
    await using service = await started(definition);
    const run = await service.dure.sagas.start(definition, { order: "x" }, { id: "S-3" });
    expect(await run.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "PERMANENT" },
    });
    const { rows } = await database.pool.query<{ what: string }>(
      "select what from effect order by n",
    );
    expect(rows.map((row) => row.what)).toEqual(["x", "undo x"]);
  });
});

describe("starting a saga", () => {
  const definition = saga("one", { version: 1, input })
    .step("only", { run: async () => undefined, compensate: async () => undefined })
    .end();

  it("is refused before the service has started, and after it has stopped", async () => {
    await using service = createTestService({
      pool: database.pool,
      sagas: { definitions: [definition] },
    });
    const start = () => service.dure.sagas.start(definition, { order: "o" }, { id: "S-LIFE" });
    await expect(start()).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
    await service.dure.start();
    await service.dure.stop();
    await expect(start()).rejects.toMatchObject({ code: "STOPPED" });
    const { rowCount } = await database.pool.query(
      "select from dure.saga_instance where saga_id = 'S-LIFE'",
    );
    expect(rowCount).toBe(0);
  });
});
