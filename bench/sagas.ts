import { createDure, saga, StepRefusedError } from "dure";
import { postgresStore } from "dure/postgres";
import type { Pool } from "pg";
import { z } from "zod";
import { refusal, stepBody, stepResult } from "./saga-steps.ts";

/** Sagas of the library: as {@link DbosWork}, the one in transactions once by code and once by one statement a step. */
export type SagaWork = "plain" | "compensated" | "local" | "statement";

/** The library's sagas in one database, run by this process. */
export interface SagaLoad {
  start(): Promise<void>;
  /** Starts a saga of that kind and waits for its outcome. Throws when it is another than it must be. */
  run(work: SagaWork, id: string): Promise<void>;
  /** Starts a saga whose second step waits until the load was opened with `isHeld: false`; resolves when it is durable. */
  startHeld(id: string): Promise<void>;
  /** How many of those have come to their second step in this process. */
  readonly heldCount: number;
  stop(): Promise<void>;
}

/** What the cases need of the saga engine, its tables included. */
export interface SagaEngine {
  /** How long a process that has died keeps what it ran, in milliseconds. */
  readonly leaseMs: number;
  open(pool: Pool, options?: { readonly isHeld?: boolean }): Promise<SagaLoad>;
  /** How many held sagas have written the record of their second step. */
  countReleased(pool: Pool): Promise<number>;
  /** Adds so many sagas as if they had run and finished in the past days; says how far it is. */
  growFinished(pool: Pool, total: number, loaded: (count: number) => void): Promise<void>;
  /** Adds so many that wait for an answer, each with a timer that does not go off while it is measured. */
  growWaiting(pool: Pool, total: number, loaded: (count: number) => void): Promise<void>;
}

const input = z.object({ id: z.string() });
type Input = z.infer<typeof input>;
const version = 1;
const insertStep = "insert into app (wf, step, body) values ($1, $2, $3)";
/** Nothing is to be undone for real: only the journal costs. */
const compensate = (): Promise<undefined> => Promise.resolve(undefined);

const act = (step: number) => ({
  run: ({ input: { id } }: { readonly input: Input }) => stepResult(step, id),
  compensate,
});

const plain = saga("plain", { version, input })
  .step("s1", act(1))
  .step("s2", act(2))
  .step("s3", act(3))
  .step("s4", act(4))
  .end();

const compensated = saga("compensated", { version, input })
  .step("s1", act(1))
  .step("s2", act(2))
  .step("s3", {
    run: (): Promise<null> => Promise.reject(new StepRefusedError("NO_STOCK", refusal)),
    compensate,
  })
  .end();

const write = (step: number) => ({
  local: async ({ tx, input: { id } }: LocalContext) => {
    await tx.query(insertStep, [id, step, stepBody]);
    return { step };
  },
  compensate,
});
interface LocalContext {
  readonly tx: { query(text: string, params: readonly unknown[]): Promise<unknown> };
  readonly input: Input;
}

const local = saga("local", { version, input })
  .step("s1", write(1))
  .step("s2", write(2))
  .step("s3", write(3))
  .step("s4", write(4))
  .end();

const state = (step: number) => ({
  statement: ({ input: { id } }: { readonly input: Input }) => ({
    text: insertStep,
    params: [id, step, stepBody],
  }),
  compensate: () => ({ text: "select 1", params: [] }),
});

const statement = saga("statement", { version, input })
  .step("s1", state(1))
  .step("s2", state(2))
  .step("s3", state(3))
  .step("s4", state(4))
  .end();

const leaseMs = 10_000;
const definitions = { plain, compensated, local, statement } as const;
const kinds = {
  plain: "completed",
  compensated: "compensated",
  local: "completed",
  statement: "completed",
} as const;

function openSagas(pool: Pool, { isHeld = false }: { readonly isHeld?: boolean } = {}): SagaLoad {
  let heldCount = 0;
  const held = saga("held", { version, input, timeoutMs: 3_600_000 })
    .step("s1", act(1))
    .step("s2", {
      run: () => {
        heldCount += 1;
        return isHeld ? new Promise<null>(() => undefined) : Promise.resolve(null);
      },
      compensate,
    })
    .end();
  const dure = createDure({
    service: "bench",
    store: postgresStore({ pool }),
    sagas: {
      definitions: [...Object.values(definitions), held],
      leaseMs,
      ...(isHeld && { concurrency: 100_000 }),
    },
  });
  return {
    start: () => dure.start(),
    async run(work, id) {
      const started = await dure.sagas.start(definitions[work], { id }, { id });
      const { kind } = await started.outcome();
      if (kind !== kinds[work]) throw new Error(`saga ${id} (${work}) ended as ${kind}`);
    },
    async startHeld(id) {
      await dure.sagas.start(held, { id }, { id });
    },
    get heldCount() {
      return heldCount;
    },
    async stop() {
      await dure.stop();
    },
  };
}

/** Sagas that one loading statement writes. */
const chunk = 20_000;

/** In pieces of a bounded length, through the tables: through the front door it would take hours. */
async function grow(
  pool: Pool,
  { total, statements }: { readonly total: number; readonly statements: readonly string[] },
  loaded: (count: number) => void,
): Promise<void> {
  for (let from = 0; from < total; from += chunk) {
    const to = Math.min(total, from + chunk);
    for (const text of statements) await pool.query(text, [from, to - 1]);
    loaded(to);
  }
}

const finished = [
  `insert into dure.saga_instance (saga_id, definition, version, input, status, process, batch, started_at, ended_at)
   select 'done-' || n, 'plain', 1, json_build_object('id', 'done-' || n), 'COMPLETED', 0, n, now() - interval '1 day', now() - interval '1 day'
   from generate_series($1::integer, $2::integer) n`,
  `insert into dure.saga_journal (saga_id, n, process, batch, recorded_at, events)
   select 'done-' || s, n, 0, s, now() - interval '1 day', '[{"type":"done","step":"s1","result":{"step":1}},{"type":"begun","step":"s2","attempt":1}]'
   from generate_series($1::integer, $2::integer) s, generate_series(1, 5) n`,
];

const waiting = [
  `insert into dure.saga_instance (saga_id, definition, version, input, process, batch)
   select 'waits-' || n, 'plain', 1, json_build_object('id', 'waits-' || n), 0, n
   from generate_series($1::integer, $2::integer) n`,
  `insert into dure.saga_journal (saga_id, n, process, batch, events)
   select 'waits-' || s, 1, 0, s, '[{"type":"begun","step":"s1","attempt":1}]'
   from generate_series($1::integer, $2::integer) s`,
  `insert into dure.saga_live (saga_id, definition, version, wake_at, deadline_at)
   select 'waits-' || n, 'plain', 1, now() + interval '1 day', now() + interval '2 days'
   from generate_series($1::integer, $2::integer) n`,
];

/** The library's engine. */
export const sagaEngine: SagaEngine = {
  leaseMs,
  open: (pool, options) => Promise.resolve(openSagas(pool, options)),
  async countReleased(pool) {
    // Started, come to its second step, and taken over from there.
    const { rows } = await pool.query<{ count: string }>(
      "select count(*) from dure.saga_journal where saga_id like 'held-%' and n = 3",
    );
    return Number(rows[0]?.count);
  },
  growFinished: (pool, total, loaded) => grow(pool, { total, statements: finished }, loaded),
  growWaiting: (pool, total, loaded) => grow(pool, { total, statements: waiting }, loaded),
};

/** Runs one saga after the other under an id of its own. */
export function countingSagas(sagas: SagaLoad): (work: SagaWork) => Promise<void> {
  let count = 0;
  return (work) => {
    count += 1;
    return sagas.run(work, `o-${count}`);
  };
}
