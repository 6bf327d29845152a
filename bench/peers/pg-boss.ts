import type { Pool, PoolClient } from "pg";
import type { MeasuredData } from "../service.ts";
import { importPeer } from "./import-peer.ts";

interface SqlExecutor {
  executeSql(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}
interface Boss {
  on(event: "error", listener: () => void): unknown;
  start(): Promise<unknown>;
  stop(options: { graceful: boolean }): Promise<unknown>;
  createQueue(name: string): Promise<unknown>;
  deleteAllJobs(name: string): Promise<unknown>;
  send(name: string, data: MeasuredData, options: { db: SqlExecutor }): Promise<unknown>;
}
interface PgBossPackage {
  readonly PgBoss: new (options: {
    db: SqlExecutor;
    supervise: boolean;
    schedule: boolean;
  }) => Boss;
}

/** pg-boss in the given database, for writing. */
export interface PgBossPeer extends AsyncDisposable {
  /** Sends a job in the transaction that is open on the client. */
  send(client: PoolClient, data: MeasuredData): Promise<void>;
  empty(): Promise<void>;
}

const queue = "measured";

/** Installs its schema beside ours; a queue as `createQueue` makes it, without NOTIFY. */
export async function openPgBoss(pool: Pool): Promise<PgBossPeer> {
  // By its shape: what of the package is used here.
  const { PgBoss } = (await importPeer("pg-boss")) as PgBossPackage;
  const boss = new PgBoss({ db: onClient(pool), supervise: false, schedule: false });
  boss.on("error", () => undefined);
  await boss.start();
  await boss.createQueue(queue);
  return {
    async send(client, data) {
      await boss.send(queue, data, { db: onClient(client) });
    },
    async empty() {
      await boss.deleteAllJobs(queue);
    },
    async [Symbol.asyncDispose]() {
      await boss.stop({ graceful: false });
    },
  };
}

function onClient(client: Pool | PoolClient): SqlExecutor {
  return { executeSql: (text, values) => client.query<Record<string, unknown>>(text, values) };
}
