/** Generated histories on two real engines: whatever fails, is lost, comes late or freezes, what stands at the participants is what each saga's end says (S1 to S8). DURE_SAGA_HISTORIES sets how many. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { saga, StepRefusedError } from "../../src/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { within } from "../support/wait-for.ts";
import { type Around, wrapPool } from "../support/wrap-pool.ts";
import { randomFrom } from "./hostile-writers.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

const answers = ["ok", "refuse", "lost before", "lost after", "late"] as const;
type Answer = (typeof answers)[number];
const input = z.object({ script: z.record(z.string(), z.array(z.enum(answers))) });
type Script = z.infer<typeof input>["script"];

let database: TestDatabase;
let services: TestService[];
let isLossy = false;
let random = randomFrom(1);
let frozen: Promise<void> | undefined;
const late: Promise<unknown>[] = [];

/** The callee behind its barrier: what it did, refused and undid, by the key of the forward call. */
async function arrive(key: string, state: "done" | "refused" | "compensated"): Promise<string> {
  const { rows } = await database.pool.query<{ state: string }>(
    `insert into callee values ($1, $2) on conflict (key) do update
     set state = case when $2 = 'compensated' then $2 else callee.state end returning state`,
    [key, state],
  );
  return rows[0]?.state ?? "";
}

async function callee(answer: Answer, key: string): Promise<void> {
  if (answer === "lost before") throw new Error("lost");
  if (answer === "late") {
    late.push(new Promise((resolve) => setImmediate(resolve)).then(() => arrive(key, "done")));
    throw new Error("no answer");
  }
  const state = await arrive(key, answer === "refuse" ? "refused" : "done");
  if (answer === "lost after") throw new Error("lost");
  if (state !== "done") throw new StepRefusedError("REFUSED", `${key} is ${state}`);
}

const retry = { attempts: 4, baseMs: 1, maxMs: 4 };
const undoRetry = { attempts: 30, baseMs: 1, maxMs: 20 };

interface Called {
  readonly input: { readonly script: Script };
  readonly call: { readonly step: string; readonly attempt: number; readonly key: string };
}
const run = async ({ input: { script }, call }: Called): Promise<void> =>
  callee(script[call.step]?.[call.attempt - 1] ?? "ok", call.key);
const remote = {
  run,
  retry,
  compensate: {
    run: async ({ input: { script }, call }: Called & { call: { compensates: string } }) => {
      const answer = script[`undo ${call.step}`]?.[call.attempt - 1] ?? "ok";
      if (answer !== "lost before") await arrive(call.compensates, "compensated");
      if (answer !== "ok") throw new Error("lost");
    },
    retry: undoRetry,
  },
};

/** Both ways in this service's own database: one line for what was done, one for what was undone. */
const insert = "insert into own (saga, step, is_undo) values ($1, $2, $3)";
const own = {
  statement: ({ call }: Called & { call: { sagaId: string } }) => ({
    text: insert,
    params: [call.sagaId, call.step, false],
  }),
  retry,
  compensate: {
    statement: ({ call }: Called & { call: { sagaId: string } }) => ({
      text: insert,
      params: [call.sagaId, call.step, true],
    }),
    retry: undoRetry,
  },
};
const definition = saga("history", { version: 1, input })
  .step("reserve", remote)
  .step("note", own)
  .parallel("both", (group) =>
    group.step("charge", remote).step("book", {
      local: async ({ tx, input: { script }, call }) => {
        await tx.query(insert, [call.sagaId, call.step, false]);
        const answer = script["book"]?.[call.attempt - 1] ?? "ok";
        if (answer === "refuse") throw new StepRefusedError("REFUSED", "no");
        if (answer !== "ok") throw new Error("rolled back");
      },
      retry,
      compensate: {
        local: async ({ tx, call }) => {
          await tx.query(insert, [call.sagaId, call.step, true]);
        },
        retry: undoRetry,
      },
    }),
  )
  .pivot("capture", { run, retry: { attempts: 60, baseMs: 1, maxMs: 20 } })
  .step("ship", { run, retry: { attempts: 60, baseMs: 1, maxMs: 20 } })
  .end();

/** Loses some requests and some answers of what writes, and holds everything while it is frozen. */
const spoilt: (mayFreeze: boolean) => Around = (mayFreeze) => async (text, send) => {
  if (mayFreeze) await frozen;
  const isWrite = /dure:saga\.(record|claim)|^commit/.test(text);
  const dice = isLossy && isWrite ? random() : 1;
  const lost = Object.assign(new Error("connection lost"), { code: "ECONNRESET" });
  if (dice < 0.05) throw lost;
  const answer = await send();
  if (dice < 0.1) throw lost;
  if (mayFreeze) await frozen;
  return answer;
};

beforeAll(async () => {
  database = await createTestDatabase({ name: "saga_history", poolSizeMax: 30 });
  await database.pool.query(`
    create table callee (key text primary key, state text not null);
    create table own (saga text not null, step text not null, is_undo boolean not null)`);
  services = [true, false].map((mayFreeze) => {
    const around = spoilt(mayFreeze);
    return createTestService({
      pool: wrapPool(database.pool, { alone: around, onClient: around }),
      sagas: { definitions: [definition], leaseMs: 1_000, pollMs: 20 },
      relay: false,
    });
  });
  for (const service of services) await service.dure.start();
});
afterAll(async () => {
  for (const service of services) await service.stop();
  await database[Symbol.asyncDispose]();
});

const plan = fc.array(fc.constantFrom(...answers), { maxLength: 4 });
const undoPlan = fc.array(fc.constantFrom<Answer>("ok", "lost before", "lost after"), {
  maxLength: 3,
});
const forwardPlan = fc.array(fc.constantFrom<Answer>("ok", "lost before", "lost after", "late"), {
  maxLength: 3,
});
const script: fc.Arbitrary<Script> = fc.record(
  {
    reserve: plan,
    charge: plan,
    book: plan,
    capture: plan,
    ship: forwardPlan,
    "undo reserve": undoPlan,
    "undo charge": undoPlan,
  },
  { requiredKeys: [] },
);

/** What stands for a saga, and what should by its end. */
async function problemsOf(sagaId: string, kind: string): Promise<readonly string[]> {
  const { rows: remotes } = await database.pool.query<{ step: string; state: string }>(
    "select substr(key, length($1) + 2) as step, state from callee where starts_with(key, $1 || '-')",
    [sagaId],
  );
  const { rows: owns } = await database.pool.query<{ step: string; done: number; undone: number }>(
    `select step, count(*) filter (where not is_undo)::int as done, count(*) filter (where is_undo)::int as undone
     from own where saga = $1 group by step`,
    [sagaId],
  );
  const standing = remotes.filter(({ state }) => state === "done").map(({ step }) => step);
  const problems = owns.flatMap(({ step, done, undone }) => {
    const isRight = done === 1 && undone === (kind === "completed" ? 0 : 1);
    return isRight ? [] : [`${step} was done ${done} times and undone ${undone} times`];
  });
  if (kind === "completed") {
    const all = ["capture", "charge", "reserve", "ship"];
    return standing.toSorted().join() === all.join() && owns.length === 2
      ? problems
      : [...problems, `there is only ${standing.join()}`];
  }
  return [...problems, ...standing.map((step) => `${step} stands though the saga was ${kind}`)];
}

let historyCount = 0;

async function liveThrough(
  scripts: readonly Script[],
  seed: number,
  freezes: boolean,
): Promise<readonly string[]> {
  random = randomFrom(seed);
  isLossy = true;
  const thaw = Promise.withResolvers<void>();
  const starts = scripts.map(async (given, index) => {
    historyCount += 1;
    const id = `H${historyCount}`;
    const { dure } = services[index % 2] as TestService;
    const started = dure.sagas.start(definition, { script: given }, { id });
    const again = dure.sagas.start(definition, { script: given }, { id });
    await Promise.all([started, again]);
    return id;
  });
  const ids = await Promise.all(starts);
  if (freezes) frozen = thaw.promise;
  const [, other] = services as [TestService, TestService];
  const outcomes = ids.map(async (id) => ({ id, ...(await other.dure.sagas.outcome(id)) }));
  const ended = await within(Promise.all(outcomes), {
    what: "all sagas' ends",
    timeoutMs: 60_000,
  }).catch(async (cause: unknown) => {
    throw new Error(`still live: ${await standing(ids)}`, { cause });
  });
  isLossy = false;
  frozen = undefined;
  thaw.resolve();
  await Promise.all(late.splice(0));
  const problems = await Promise.all(ended.map(async ({ id, kind }) => problemsOf(id, kind)));
  return problems.flatMap((found, index) => found.map((problem) => `${ids[index]}: ${problem}`));
}

/** What holds them up, for whoever looks into a failure. */
async function standing(ids: readonly string[]): Promise<string> {
  const { rows } = await database.pool.query(
    `select i.saga_id, i.status, l.process, l.wake_at, clock_timestamp() as now,
       (select json_agg(j.events order by j.n) from dure.saga_journal j where j.saga_id = i.saga_id) as journal
     from dure.saga_instance i left join dure.saga_live l using (saga_id)
     where i.saga_id = any ($1) and i.ended_at is null`,
    [ids],
  );
  return JSON.stringify(rows);
}

describe("two engines on one database", { timeout: 3_600_000 }, () => {
  it("bring every saga to an end that is true, whatever is refused, lost, late, or frozen", async () => {
    const histories = Number(process.env["DURE_SAGA_HISTORIES"] ?? 300);
    const perRun = 10;
    await fc.assert(
      fc.asyncProperty(
        fc.array(script, { minLength: perRun, maxLength: perRun }),
        fc.nat(),
        fc.nat(9).map((dice) => dice === 0),
        async (scripts, seed, freezes) => {
          expect(await liveThrough(scripts, seed, freezes)).toEqual([]);
        },
      ),
      { numRuns: Math.ceil(histories / perRun), endOnFailure: true },
    );
    const { rows } = await database.pool.query<{ count: number }>(
      "select count(*)::int as count from dure.saga_live",
    );
    expect(rows[0]?.count).toBe(0);
  });
});
