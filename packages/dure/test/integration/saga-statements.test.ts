/** Steps that are one statement commit together in batches, and what is wrong with one is no other's business. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { saga } from "../../src/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;

const definition = saga("counted", {
  version: 1,
  input: z.object({ id: z.string(), divisor: z.number() }),
})
  .step("note", {
    statement: ({ input, call }) => ({
      text: "insert into note (id, attempt, one) values ($1, $2, 1 / $3)",
      params: [input.id, call.attempt, input.divisor],
    }),
    compensate: ({ input }) => ({ text: "delete from note where id = $1", params: [input.id] }),
    retry: { attempts: 2, baseMs: 1, maxMs: 1 },
  })
  .step("count", {
    statement: ({ input }) => ({
      text: "update counter set n = n + 1 where id = $1",
      params: [input.id],
    }),
    compensate: () => ({ text: "select 1", params: [] }),
  })
  .end();

beforeAll(async () => {
  database = await createTestDatabase();
  await database.pool.query(`
    create table note (id text primary key, attempt int, one int);
    create table counter (id text primary key, n int default 0)`);
  service = createTestService({ pool: database.pool, sagas: { definitions: [definition] } });
  await service.dure.start();
});
afterAll(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

async function startAll(prefix: string, divisorOf: (index: number) => number) {
  const ids = Array.from({ length: 40 }, (_, index) => `${prefix}-${index}`);
  await database.pool.query("insert into counter (id) select unnest($1::text[])", [ids]);
  return Promise.all(
    ids.map((id, index) =>
      service.dure.sagas.start(definition, { id, divisor: divisorOf(index) }, { id }),
    ),
  );
}

describe("steps that are one statement", () => {
  it("commit once each with their records, although some of a batch fail", async () => {
    const started = await startAll("fail", (index) => (index % 10 === 3 ? 0 : 1));
    const outcomes = await Promise.all(started.map((run) => run.outcome()));
    const kinds = outcomes.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "completed")).toHaveLength(36);
    expect(outcomes[3]).toMatchObject({ kind: "compensated", reason: { code: "22012" } });
    const { rows } = await database.pool.query<{ n: number; count: string }>(
      "select n, count(*) from counter where id like 'fail-%' group by n order by n",
    );
    expect(rows).toEqual([
      { n: 0, count: "4" },
      { n: 1, count: "36" },
    ]);
    const notes = await database.pool.query("select from note where id like 'fail-%'");
    expect(notes.rowCount).toBe(36);
  });

  it("do not wait for the row that another one's statement waits for", async () => {
    const ids = Array.from({ length: 40 }, (_, index) => `lock-${index}`);
    await database.pool.query("insert into counter (id) select unnest($1::text[])", [ids]);
    const blocker = await database.pool.connect();
    await blocker.query("begin");
    await blocker.query("update counter set n = n where id = 'lock-0'");
    const started = await Promise.all(
      ids.map((id) => service.dure.sagas.start(definition, { id, divisor: 1 }, { id })),
    );
    const [blocked, ...others] = started.map((run) => run.outcome());
    for (const outcome of await Promise.all(others)) expect(outcome.kind).toBe("completed");
    await blocker.query("commit");
    blocker.release();
    expect((await blocked)?.kind).toBe("completed");
    const { rows } = await database.pool.query<{ n: number }>(
      "select distinct n from counter where id like 'lock-%'",
    );
    expect(rows).toEqual([{ n: 1 }]);
  });
});
