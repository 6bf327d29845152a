/**
 * Whatever processes ask, fail, are cut off and come back, and whatever an operator changes: each decision that the database
 * has made is one that a model allows. Never more than N, in the order of the line, nobody served before it (law L4). The
 * same checker finds the mistakes that were made on purpose.
 */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDure, type Dure, isDureError } from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import { manualClock } from "../../src/testing/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { wrapPool } from "../support/wrap-pool.ts";

/** What happened to a place, or how many permits there are from then on; written under the semaphore's lock. */
interface Decision {
  readonly what: "held" | "waiting" | "granted" | "gone" | "permits";
  /** The place, or the number of permits. */
  readonly n: number;
}

const trigger = `
  create table decision (id bigint generated always as identity primary key, what text, n bigint,
    statement xid8 default pg_current_xact_id());
  create function note() returns trigger language plpgsql as $$
  begin
    if tg_table_name = 'semaphore' then
      insert into public.decision (what, n) values ('permits', new.permits);
    elsif tg_op = 'DELETE' then
      insert into public.decision (what, n) values ('gone', old.place);
    elsif tg_op = 'INSERT' then
      insert into public.decision (what, n)
      values (case when new.granted_at is null then 'waiting' else 'held' end, new.place);
    else
      insert into public.decision (what, n) values ('granted', new.place);
    end if;
    return null;
  end $$;
  create trigger note after insert or update or delete on dure.semaphore_place
    for each row execute function note();
  create trigger note after insert or update of permits on dure.semaphore
    for each row execute function note();`;

/** The first decision that no semaphore may make. */
function firstMistake(history: readonly Decision[]): string | undefined {
  const held = new Set<number>();
  const line = new Set<number>();
  let permits = 0;
  for (const [index, { what, n }] of history.entries()) {
    const say = (why: string): string => `decision ${index}, ${what} ${n}: ${why}`;
    if (what === "permits") permits = n;
    if (what === "gone" && !held.delete(n) && !line.delete(n)) return say("it was not there");
    if (what === "waiting") {
      if (held.size < permits && line.size === 0) return say("a permit was free");
      line.add(n);
    }
    if (what === "granted" && !line.delete(n)) return say("it was not in line");
    if (what === "granted" && [...line].some((each) => each < n)) return say("others were first");
    if (what === "held" && line.size > 0) return say("it was served before the line");
    if (what === "held" || what === "granted") held.add(n);
    if ((what === "held" || what === "granted") && held.size > permits) {
      return say(`${held.size} of ${permits}`);
    }
  }
  return undefined;
}

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ name: "semaphore_history", poolSizeMax: 30 });
  await database.pool.query(trigger);
});
afterEach(() => database?.[Symbol.asyncDispose]());

interface Caller {
  readonly dure: Dure<pg.PoolClient>;
  isCut: boolean;
}

function createCaller(): Caller {
  const caller = { isCut: false } as { -readonly [Key in keyof Caller]: Caller[Key] };
  const through = (text: string, run: () => Promise<unknown>): Promise<unknown> =>
    caller.isCut && text.includes("semaphore") ? Promise.reject(new Error("cut off")) : run();
  const pool = wrapPool(database.pool, { alone: through, onClient: through });
  const semaphores = { leaseMs: 500, pollMsMax: 50 };
  const store = postgresStore<pg.PoolClient>({ pool });
  caller.dure = createDure<pg.PoolClient>({ service: "caller", store, semaphores });
  return caller;
}

const size = { permits: 3, lineMax: 12 };

/** Runs callers against each other, cut off now and then for longer than their lease. */
async function play(seed: number): Promise<{
  readonly history: readonly Decision[];
  readonly runningMax: number;
  readonly outcomes: Readonly<Record<string, number>>;
}> {
  const clock = manualClock({ seed });
  const pick = (below: number): number => Math.floor(clock.random() * below);
  const callers = [createCaller(), createCaller(), createCaller()];
  const outcomes: Record<string, number> = {};
  const count = (what: string): void => {
    outcomes[what] = (outcomes[what] ?? 0) + 1;
  };
  const running = new Set<AbortSignal>();
  let runningMax = 0;
  const use = async (caller: Caller): Promise<void> => {
    const options = { ...size, waitMs: pick(4) === 0 ? 0 : 50 + pick(3_000) };
    const ms = pick(30);
    await caller.dure.semaphores
      .withPermit("provider", options, async ({ signal }) => {
        running.add(signal);
        const alive = [...running].filter((each) => !each.aborted).length;
        runningMax = Math.max(runningMax, alive);
        await database.pool.query("select pg_sleep($1 / 1000.0)", [ms]);
        running.delete(signal);
        count("done");
      })
      .catch((error: unknown) => count(isDureError(error) ? error.code : "cut off"));
  };
  const users = callers.flatMap((caller) =>
    Array.from({ length: 6 }, async () => {
      for (let n = 0; n < 14; n += 1) await use(caller);
    }),
  );
  const isOver = new AbortController();
  const disturb = async (): Promise<void> => {
    const by = { actor: "test", reason: "history" };
    while (!isOver.signal.aborted) {
      const caller = callers[pick(callers.length)];
      if (caller !== undefined) caller.isCut = true;
      await database.pool.query("select pg_sleep($1 / 1000.0)", [200 + pick(900)]);
      if (caller !== undefined) caller.isCut = false;
      const control = callers[0]?.dure.semaphores;
      // An operator may be cut off as well.
      await control?.set("provider", { permits: 1 + pick(permitsMax) }, by).catch(() => undefined);
      const [first] = (await control?.places("provider").catch(() => [])) ?? [];
      if (pick(3) === 0 && first !== undefined) {
        await control?.release(first.id, by).catch(() => undefined);
      }
    }
  };
  const disturbing = disturb();
  await Promise.all(users);
  isOver.abort();
  await disturbing;
  await Promise.all(callers.map(({ dure }) => dure.stop()));
  // What one statement grants it grants at once, in no order.
  const { rows } = await database.pool.query<{ what: Decision["what"]; n: string }>(
    `select what, n::text from decision
     order by min(id) over (partition by statement, what = 'granted', case when what <> 'granted' then id end),
       case when what = 'granted' then n end, id`,
  );
  return { history: rows.map(({ what, n }) => ({ what, n: Number(n) })), runningMax, outcomes };
}

const permitsMax = 4;

/** In the database; or more at work at once than there ever were permits, whose signals have not aborted. */
function mistakeOf({ history, runningMax }: Awaited<ReturnType<typeof play>>): string | undefined {
  const isOver = runningMax > permitsMax;
  return firstMistake(history) ?? (isOver ? `${runningMax} at work at once` : undefined);
}

describe("histories", () => {
  it.each([1, 2, 3])("of three processes are those of a model, seed %i", async (seed) => {
    const played = await play(seed);
    const { history, outcomes } = played;
    expect(mistakeOf(played)).toBeUndefined();
    // They say something: permits changed hands, a line there was, leases ran out.
    const counts = Map.groupBy(history, ({ what }) => what);
    for (const what of ["held", "waiting", "granted", "gone", "permits"] as const) {
      expect(counts.get(what)?.length ?? 0).toBeGreaterThan(1);
    }
    expect(outcomes["done"]).toBeGreaterThan(50);
    expect(outcomes["cut off"]).toBeGreaterThan(0);
    const left = await database.pool.query("select from dure.semaphore_place");
    expect(left.rowCount).toBe(0);
  });
});

/** Mistakes in the functions of 0017_semaphore.sql: what is replaced by what. */
const mistakes = [
  ["semaphore_acquire", "s.name = p_name for update", "s.name = p_name", "no lock"],
  ["semaphore_advance", "order by place limit", "order by place desc limit", "last come first"],
  ["semaphore_advance", "select s.permits - (", "select 1 + s.permits - (", "one too many"],
  ["semaphore_fence", "lease_until <= clock_timestamp()", "true", "the living are fenced"],
] as const;

describe("the checker finds", () => {
  it.each(mistakes)(
    "in %s: %s -> %s (%s)",
    async (name, before, after) => {
      const { rows } = await database.pool.query<{ text: string }>(
        "select pg_get_functiondef(oid) as text from pg_proc where proname = $1",
        [name],
      );
      const text = rows[0]?.text ?? "";
      expect(text).toContain(before);
      await database.pool.query(text.replace(before, after));
      let found: string | undefined;
      for (let seed = 1; seed <= 4 && found === undefined; seed += 1) {
        await database.pool.query("truncate decision");
        await database.pool.query("delete from dure.semaphore");
        found = mistakeOf(await play(seed));
      }
      expect(found).toBeDefined();
    },
    120_000,
  );
});
