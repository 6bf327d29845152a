/** Sagas with a step of each kind, and the table in which their effects are counted; for tests in which processes and servers go away. */
import type pg from "pg";
import { z } from "zod";
import { saga, type SagaDefinition, StepRefusedError } from "../../src/index.ts";

interface Order {
  readonly id: string;
  readonly isRefused: boolean;
}

/** What the steps work with. */
export interface SagaWork {
  /** Of the participant, which knows its keys; not the pool of the engine. */
  readonly participant: pg.Pool;
  /** Told right before and right after each call of the participant. */
  readonly hit?: (point: "before call" | "after call") => void;
}

export async function createEffectTable(pool: pg.Pool): Promise<void> {
  await pool.query(`create table effect (
    n bigint generated always as identity, saga text not null, what text not null, key text unique
  )`);
}

/** A local step, a call, one that is refused for some, and a statement. */
export function defineWork({ participant, hit }: SagaWork): SagaDefinition<Order, undefined> {
  const call = async (what: string, order: Order, key: string): Promise<void> => {
    hit?.("before call");
    await participant.query(
      // It takes a moment, so that sagas are under way when something happens.
      `insert into effect (saga, what, key) select $1, $2, $3 from pg_sleep(0.1)
       on conflict (key) do nothing`,
      [order.id, what, key],
    );
    hit?.("after call");
  };
  const input = z.object({ id: z.string(), isRefused: z.boolean() });
  return saga("work", { version: 1, input })
    .step("note", {
      local: async ({ input: { id }, tx }) => {
        await tx.query("insert into effect (saga, what) values ($1, 'note')", [id]);
      },
      compensate: async ({ input: { id }, tx }) => {
        await tx.query("insert into effect (saga, what) values ($1, 'undo note')", [id]);
      },
    })
    .step("ask", {
      run: ({ input: order, call: { key } }) => call("ask", order, key),
      compensate: ({ input: order, call: { key } }) => call("undo ask", order, key),
      retry: { attempts: 20, baseMs: 20, maxMs: 500 },
    })
    .pivot("decide", {
      run: async ({ input: order, call: { key } }) => {
        if (order.isRefused) throw new StepRefusedError("NO", "not this one");
        await call("decide", order, key);
      },
      retry: { attempts: 20, baseMs: 20, maxMs: 500 },
    })
    .step("close", {
      statement: ({ input: { id } }) => ({
        text: "insert into effect (saga, what) values ($1, 'close')",
        params: [id],
      }),
    })
    .end();
}

/** What there is of a saga that has ended, in order: each once. */
export const completedWork = "note,ask,decide,close";
export const undoneWork = "note,ask,undo ask,undo note";

/** How the effects of each saga came, and how often: `{ "note,ask,…": 12 }`. */
export async function countWork(pool: pg.Pool): Promise<Readonly<Record<string, number>>> {
  const { rows } = await pool.query<{ work: string; count: number }>(
    `select work, count(*)::int as count
     from (select string_agg(what, ',' order by n) as work from effect group by saga) as each
     group by 1`,
  );
  return Object.fromEntries(rows.map(({ work, count }) => [work, count]));
}

/** How many sagas stand where: `{ COMPLETED: 12 }`. */
export async function countSagas(pool: pg.Pool): Promise<Readonly<Record<string, number>>> {
  const { rows } = await pool.query<{ status: string; count: number }>(
    "select status, count(*)::int as count from dure.saga_instance group by 1",
  );
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
}
