import type { Pool, PoolClient } from "pg";
import { untilCount, untilTrue } from "../load.ts";
import type { MeasuredData } from "../service.ts";
import { importPeer } from "./import-peer.ts";

interface Utilities {
  migrate(): Promise<void>;
  addJobs(jobs: readonly { identifier: string; payload: MeasuredData }[]): Promise<unknown>;
  release(): Promise<unknown>;
}
interface GraphileWorker {
  readonly Logger: new (factory: () => () => void) => object;
  makeWorkerUtils(options: { pgPool: Pool; logger: object }): Promise<Utilities>;
  run(options: {
    pgPool: Pool;
    logger: object;
    noHandleSignals: true;
    taskList: { measured: (payload: MeasuredData) => void };
    preset: { worker: Readonly<Record<string, unknown>> };
  }): Promise<{ stop(): Promise<void> }>;
}

/** graphile-worker in the given database. */
export interface GraphilePeer extends AsyncDisposable {
  /** Adds a job in the transaction that is open on the client. */
  add(client: PoolClient, data: MeasuredData): Promise<void>;
  /** Removes all jobs, done or not. */
  empty(): Promise<void>;
  load(total: number, data: (n: number) => MeasuredData): Promise<void>;
  /** Works off so many no-op jobs; per second, from the first job to an empty table. */
  drain(total: number): Promise<number>;
  /** Calls back at the start of each job until it is stopped. */
  work(onJob: (data: MeasuredData) => void): Promise<{ stop(): Promise<void> }>;
}

/** The configuration of its own performance test: a local queue, and batched completion. */
const tuned = {
  concurrentJobs: 24,
  pollInterval: 2_000,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};

/** Installs its schema beside ours. */
export async function openGraphileWorker(pool: Pool): Promise<GraphilePeer> {
  // By its shape: what of the package is used here.
  const graphile = (await importPeer("graphile-worker")) as GraphileWorker;
  const logger = new graphile.Logger(() => () => undefined);
  const utilities = await graphile.makeWorkerUtils({ pgPool: pool, logger });
  await utilities.migrate();

  const work: GraphilePeer["work"] = (onJob) =>
    graphile.run({
      pgPool: pool,
      logger,
      noHandleSignals: true,
      taskList: { measured: onJob },
      preset: { worker: tuned },
    });
  const isEmpty = async (): Promise<boolean> => {
    const { rowCount } = await pool.query("select 1 from graphile_worker._private_jobs limit 1");
    return rowCount === 0;
  };

  return {
    work,
    async add(client, data) {
      await client.query("select graphile_worker.add_job('measured', $1::json)", [
        JSON.stringify(data),
      ]);
    },
    async empty() {
      await pool.query("truncate graphile_worker._private_jobs");
    },
    async load(total, data) {
      for (let from = 0; from < total; from += 1_000) {
        const count = Math.min(1_000, total - from);
        await utilities.addJobs(
          Array.from({ length: count }, (_, index) => ({
            identifier: "measured",
            payload: data(from + index),
          })),
        );
      }
    },
    async drain(total) {
      let count = 0;
      let startedAt = 0;
      const runner = await work(() => {
        if (count === 0) startedAt = performance.now();
        count += 1;
      });
      try {
        await untilCount("jobs of graphile-worker", () => count, total);
        await untilTrue("graphile-worker has completed all jobs", isEmpty);
        return (total * 1_000) / (performance.now() - startedAt);
      } finally {
        await runner.stop();
      }
    },
    async [Symbol.asyncDispose]() {
      await utilities.release();
    },
  };
}
