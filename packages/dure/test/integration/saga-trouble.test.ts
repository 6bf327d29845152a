/** Lost answers, frozen owners, double starts and full pools: a saga is driven by one process, and ends as its journal says (S2, S6 to S9). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { event, isDureError, saga, StepRefusedError } from "../../src/index.ts";
import type { AnySagaDefinition } from "../../src/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor, within } from "../support/wait-for.ts";
import { type Around, wrapPool } from "../support/wrap-pool.ts";
import { createTestService, type TestService, type TestServiceOptions } from "./service-fixture.ts";

let database: TestDatabase;
let services: TestService[];
let calls: string[];
beforeEach(async () => {
  database = await createTestDatabase({ name: "saga_trouble", poolSizeMax: 20 });
  await database.pool.query("create table effect (what text not null)");
  services = [];
  calls = [];
});
afterEach(async () => {
  await Promise.all(services.map((service) => service.stop()));
  await database[Symbol.asyncDispose]();
});

const input = z.object({ order: z.string() });
const order = { order: "o1" };

async function serve(
  definitions: readonly AnySagaDefinition[],
  options: Partial<TestServiceOptions> = {},
): Promise<TestService> {
  const sagas = { definitions, leaseMs: 1_000, pollMs: 20 };
  const service = createTestService({ pool: database.pool, sagas, ...options });
  services.push(service);
  await service.dure.start();
  return service;
}

/** A step that says when it is called, and how it is undone. */
function said(name: string): { run: () => Promise<string>; compensate: () => Promise<void> } {
  return {
    run: async () => {
      calls.push(name);
      return name;
    },
    compensate: async () => {
      calls.push(`undo ${name}`);
    },
  };
}

/** A promise that a test resolves. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: () => resolve() };
}

async function events(sagaId: string): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ type: string }>(
    "select type from dure.saga_event where saga_id = $1 order by n, at",
    [sagaId],
  );
  return rows.map(({ type }) => type);
}

async function count(sql: string): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    `select count(*)::int as count ${sql}`,
  );
  return rows[0]?.count ?? 0;
}

describe("a start", () => {
  it("given twice at once, or again while its saga is driven, is one, and the saga keeps its timers", async () => {
    let attempts = 0;
    const definition = saga("twice", { version: 1, input })
      .step("shaky", {
        run: async () => {
          attempts += 1;
          if (attempts < 4) throw new Error("not yet");
        },
        retry: { attempts: 6, baseMs: 300, maxMs: 300 },
        compensate: async () => undefined,
      })
      .end();
    const { dure } = await serve([definition]);
    const start = () => dure.sagas.start(definition, order, { id: "S" });
    const runs = await Promise.all([start(), start(), start()]);
    expect(runs.filter(({ isNew }) => isNew)).toHaveLength(1);
    await waitFor(() => attempts > 0, { what: "the first attempt" });
    expect((await start()).isNew).toBe(false);
    await expect(dure.sagas.start(definition, { order: "other" }, { id: "S" })).rejects.toSatisfy(
      (error) => isDureError(error, "SAGA_ID_REUSED"),
    );
    expect(await runs[0]?.outcome()).toMatchObject({ kind: "completed" });
    expect(attempts).toBe(4);
    expect((await events("S")).filter((type) => type === "begun")).toHaveLength(4);
  });

  it("in a transaction is one if and only if that commits", async () => {
    const definition = saga("riding", { version: 1, input }).step("a", said("a")).end();
    const { dure } = await serve([definition]);
    const riding = (id: string) =>
      dure.transaction(async (tx) => dure.sagas.start(definition, order, { id, tx }));
    await expect(
      dure.transaction(async (tx) => {
        await dure.sagas.start(definition, order, { id: "gone", tx });
        throw new Error("rolled back");
      }),
    ).rejects.toThrow("rolled back");
    expect(await (await riding("kept")).outcome()).toMatchObject({ kind: "completed" });
    expect((await riding("kept")).isNew).toBe(false);
    expect(await count("from dure.saga_instance")).toBe(1);
    expect(calls).toEqual(["a"]);
  });

  it("that a user's open transaction has in its hands holds up nobody else's", async () => {
    const definition = saga("held", { version: 1, input }).step("a", said("a")).end();
    const { dure } = await serve([definition]);
    const release = gate();
    const held = gate();
    const holding = dure.transaction(async (tx) => {
      await dure.sagas.start(definition, order, { id: "H", tx });
      held.open();
      await release.opened;
    });
    await held.opened;
    let isStarted = false;
    const waiting = dure.sagas.start(definition, order, { id: "H" }).finally(() => {
      isStarted = true;
    });
    for (let round = 0; round < 5; round += 1) {
      const runs = Promise.all(
        Array.from({ length: 20 }, async () =>
          (await dure.sagas.start(definition, order)).outcome(),
        ),
      );
      expect(await within(runs, { what: "the others" })).toHaveLength(20);
    }
    expect(isStarted).toBe(false);
    release.open();
    await holding;
    expect((await waiting).isNew).toBe(false);
    expect(await (await waiting).outcome()).toMatchObject({ kind: "completed" });
    expect(calls).toHaveLength(101);
  });

  it("whose input PostgreSQL cannot read is refused, and stops nobody else's", async () => {
    const definition = saga("odd", { version: 1, input, key: (given) => given.order })
      .step("a", said("a"))
      .end();
    const { dure } = await serve([definition]);
    for (const odd of ["a\u0000", "\ud800", "\udc00x"]) {
      await expect(dure.sagas.start(definition, { order: odd })).rejects.toSatisfy((error) =>
        isDureError(error, "SAGA_INPUT_INVALID"),
      );
    }
    const plain = await dure.sagas.start(definition, { order: "\\u0000 💥" });
    expect(await plain.outcome()).toMatchObject({ kind: "completed" });
  });
});

describe("the journal", () => {
  it.for(["saga.record", "saga.claim", "saga.signals"])(
    "does nothing twice when answers of %s are lost",
    async (statement) => {
      let lost = 0;
      const around: Around = async (text, run) => {
        const answer = await run();
        if (text.includes(`dure:${statement} `) && lost < 12) {
          lost += 1;
          throw Object.assign(new Error("connection lost"), { code: "ECONNRESET" });
        }
        return answer;
      };
      const definition = saga("lossy", { version: 1, input })
        .step("a", said("a"))
        .step("b", {
          ...said("b"),
          run: async () => {
            // A process asks for signals while it drives something.
            await waitFor(() => lost > 0 || statement === "saga.claim", { what: "a lost answer" });
            calls.push("b");
          },
        })
        .step("no", {
          run: async () => Promise.reject(new StepRefusedError("NO", "no")),
          compensate: async () => undefined,
        })
        .end();
      const { dure } = await serve([definition], {
        pool: wrapPool(database.pool, { alone: around, onClient: around }),
      });
      const direct = await dure.sagas.start(definition, order, { id: "S" });
      expect(await direct.outcome()).toMatchObject({ kind: "compensated" });
      expect(calls).toEqual(["a", "b", "undo b", "undo a"]);
      const riding = await dure.transaction(async (tx) =>
        dure.sagas.start(definition, order, { id: "T", tx }),
      );
      expect(await within(riding.outcome(), { what: "a claimed saga's end" })).toMatchObject({
        kind: "compensated",
      });
      expect(lost).toBeGreaterThan(0);
      expect(await count("from dure.saga_live")).toBe(0);
    },
  );

  it("keeps an effect of a local step once when the answer of its COMMIT is lost", async () => {
    let lost = 0;
    const onClient: Around = async (text, run) => {
      const answer = await run();
      if (text.startsWith("commit") && lost < 1) {
        lost += 1;
        throw Object.assign(new Error("connection lost"), { code: "ECONNRESET" });
      }
      return answer;
    };
    const definition = saga("doubt", { version: 1, input })
      .step("insert", {
        local: async ({ tx, input: { order: what } }) => {
          await tx.query("insert into effect values ($1)", [what]);
        },
        compensate: async () => undefined,
      })
      .step("after", said("after"))
      .end();
    const { dure } = await serve([definition], { pool: wrapPool(database.pool, { onClient }) });
    const run = await dure.sagas.start(definition, order, { id: "S" });
    expect(await run.outcome()).toMatchObject({ kind: "completed" });
    expect(lost).toBe(1);
    expect(await count("from effect")).toBe(1);
    expect(calls).toEqual(["after"]);
  });
});

describe("a deadline", () => {
  it("that passes while a step waits undoes the saga, and costs no entries while its compensation waits", async () => {
    let undoings = 0;
    const definition = saga("late", { version: 1, input, deadlineMs: 300 })
      .step("done", {
        run: async () => "done",
        compensate: {
          run: async () => {
            undoings += 1;
            if (undoings === 1) throw new Error("later");
            return 10n;
          },
          retry: { attempts: 3, baseMs: 4_000, maxMs: 4_000 },
        },
      })
      .step("never", {
        run: async () => Promise.reject(new Error("no")),
        retry: { attempts: 100, baseMs: 60_000, maxMs: 60_000 },
        compensate: async () => undefined,
      })
      .end();
    const { dure } = await serve([definition]);
    const run = await dure.sagas.start(definition, order, { id: "S" });
    expect(await run.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "TIMED_OUT" },
    });
    expect(await count("from dure.saga_journal")).toBeLessThan(14);
  });
});

describe("parallel local steps", () => {
  it("end beside others though their transactions hold every connection", async () => {
    const small = await createTestDatabase({ name: "saga_small_pool", poolSizeMax: 4 });
    let inside = 0;
    const definition = saga("full", { version: 1, input })
      .parallel("both", (group) =>
        group
          .step("elsewhere", { run: async () => "quick", compensate: async () => undefined })
          .step("here", {
            local: async ({ tx }) => {
              inside += 1;
              if (inside === 1) {
                await waitFor(() => small.pool.waitingCount > 0, { what: "an exhausted pool" });
              }
              await tx.query("select 1");
            },
            compensate: async () => undefined,
          }),
      )
      .end();
    const service = createTestService({
      pool: small.pool,
      sagas: { definitions: [definition], leaseMs: 5_000, pollMs: 20 },
    });
    try {
      await service.dure.start();
      const starts = Array.from({ length: 12 }, () => service.dure.sagas.start(definition, order));
      const outcomes = await Promise.all((await Promise.all(starts)).map((run) => run.outcome()));
      expect(outcomes.map(({ kind }) => kind)).toEqual(outcomes.map(() => "completed"));
      expect(inside).toBe(12);
    } finally {
      await service.stop();
      await small[Symbol.asyncDispose]();
    }
  });
});

describe("an owner", () => {
  it("that is cut off past its lease is replaced, and what it writes afterwards is refused", async () => {
    const thawed = gate();
    const inStep = gate();
    const answered = gate();
    let isFrozen = false;
    const around: Around = async (_text, run) => {
      if (isFrozen) await thawed.opened;
      return run();
    };
    let attempts = 0;
    const definition = saga("frozen", { version: 1, input })
      .step("slow", {
        run: async () => {
          attempts += 1;
          if (attempts > 1) return "second";
          inStep.open();
          await answered.opened;
          return "first";
        },
        compensate: async () => undefined,
      })
      .step("next", said("next"))
      .output(({ results }) => results.slow);
    const frozen = await serve([definition], {
      pool: wrapPool(database.pool, { alone: around, onClient: around }),
    });
    await frozen.dure.sagas.start(definition, order, { id: "S" });
    await inStep.opened;
    isFrozen = true;
    const heir = await serve([definition]);
    const outcome = heir.dure.sagas.outcome("S");
    answered.open();
    expect(await outcome).toEqual({ kind: "completed", output: "second" });
    isFrozen = false;
    thawed.open();
    // It joins anew, and drives what it is given then.
    const again = await frozen.dure.sagas.start(definition, order, { id: "T" });
    expect(await again.outcome()).toMatchObject({ kind: "completed" });
    expect(calls).toEqual(["next", "next"]);
    expect(await events("S")).toEqual(["begun", "begun", "done", "begun", "done", "completed"]);
  });

  it("that freezes inside its fence does not cost others their leases", async () => {
    const definition = saga("calm", { version: 1, input }).step("a", said("a")).end();
    const { dure, logs } = await serve([definition]);
    const client = await database.pool.connect();
    try {
      const { rows } = await client.query<{ process: number }>(
        "select dure.saga_join(1) as process",
      );
      await client.query("begin");
      await client.query("select pg_advisory_xact_lock_shared(dure.saga_lock_namespace(), $1)", [
        rows[0]?.process,
      ]);
      const beaten = async () =>
        count("from dure.saga_process where lease_until - joined_at > interval '3 seconds'");
      await waitFor(beaten, { what: "renewals for longer than a lease" });
      const run = await dure.sagas.start(definition, order);
      expect(await run.outcome()).toMatchObject({ kind: "completed" });
      expect(logs.filter(({ message }) => message.includes("lost its sagas"))).toEqual([]);
    } finally {
      await client.query("rollback");
      client.release();
    }
  });

  it("that stops hands over at once what only waits, and another goes on", async () => {
    let attempts = 0;
    const definition = saga("handed", { version: 1, input })
      .step("shaky", {
        run: async () => {
          attempts += 1;
          if (attempts === 1) throw new Error("not yet");
        },
        retry: { attempts: 3, baseMs: 900, maxMs: 900 },
        compensate: async () => undefined,
      })
      .end();
    const first = await serve([definition]);
    await first.dure.sagas.start(definition, order, { id: "S" });
    await waitFor(() => attempts === 1, { what: "the first attempt" });
    expect(await first.stop()).toBe(true);
    expect(await count("from dure.saga_live where process is not null")).toBe(0);
    const second = await serve([definition]);
    expect(await second.dure.sagas.outcome("S")).toMatchObject({ kind: "completed" });
  });
});

describe("a step by message", () => {
  const asked = event("ask.made", { version: 1, schema: input, key: (data) => data.order });
  const yes = event("ask.granted", { version: 1, schema: input, key: (data) => data.order });
  const no = event("ask.denied", { version: 1, schema: input, key: (data) => data.order });
  const askStep = {
    done: yes,
    refused: no,
    timeoutMs: 1_500,
    compensate: { run: said("ask").compensate },
  };

  it("is done or refused by the answer to its command, also when that comes twice", async () => {
    const definition = saga("asks", { version: 1, input })
      .step("before", said("before"))
      .step("ask", { ...askStep, send: ({ input: given }) => asked.of(given) })
      .output(({ results }) => results.ask);
    const service = createTestService({
      pool: database.pool,
      sagas: { definitions: [definition], leaseMs: 1_000, pollMs: 20 },
    });
    services.push(service);
    service.dure.on(asked, { group: "callee" }, async (message, tx) => {
      const answer = message.data.order === "bad" ? no : yes;
      tx.emit(answer, message.data);
      tx.emit(answer, message.data);
    });
    await service.dure.start();
    const good = await service.dure.sagas.start(definition, order);
    const bad = await service.dure.sagas.start(definition, { order: "bad" });
    expect(await good.outcome()).toEqual({ kind: "completed", output: order });
    expect(await bad.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "ask.denied" },
    });
    expect(calls).toEqual(["before", "before", "undo before"]);
    expect(await count("from dure.saga_live")).toBe(0);
  });

  it("whose command does not fit its schema fails for good, and stops nobody else's", async () => {
    const definition = saga("misfit", { version: 1, input })
      .step("before", said("before"))
      .step("ask", { ...askStep, send: () => asked.of({ order: 7 } as never) })
      .end();
    const { dure } = await serve([definition]);
    const run = await dure.sagas.start(definition, order);
    expect(await run.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "EVENT_INVALID" },
    });
    expect(calls).toEqual(["before", "undo before"]);
  });

  it("whose asynchronous schema refuses a command fails for good, and one that takes it is done", async () => {
    const slowly = event("late.asked", {
      version: 1,
      schema: z.object({ order: z.string() }).refine(async ({ order: id }) => id !== "bad"),
      key: (data) => data.order,
    });
    const definition = saga("slow-misfit", { version: 1, input })
      .step("before", said("before"))
      .step("ask", {
        ...askStep,
        timeoutMs: 60_000,
        send: (step) => slowly.of({ order: step.input.order }),
      })
      .end();
    const { dure } = await serve([definition]);
    const bad = await dure.sagas.start(definition, { order: "bad" });
    expect(await within(bad.outcome(), { what: "the refusal" })).toMatchObject({
      kind: "compensated",
      reason: { code: "EVENT_INVALID", step: "ask" },
    });
    expect(calls).toEqual(["before", "undo before"]);
    const good = await dure.sagas.start(definition, { order: "good" });
    await waitFor(
      async () =>
        (await count("from dure.saga_live where process is null and wake_at is not null")) === 1,
      { what: "the saga to wait without a process" },
    );
    expect(await count("from dure.log_message where data::json ->> 'order' = 'bad'")).toBe(0);
    expect((await dure.sagas.get(good.sagaId)).steps.at(-1)).toMatchObject({ phase: "running" });
  });
});
