import type { EmbeddedPostgres } from "dure/embedded";
import { Client } from "pg";
import { forkChild } from "../child.ts";
import type { Slice } from "../load.ts";

/**
 * The versions: the newest, and the newest whose data source for transactional steps can be installed. The
 * data source finds its SDK by the package's own name, so it is the newest that has another one.
 */
export type DbosVersion = "5.3.0" | "4.24.16";

/** Workflows of the peer: four plain steps, the same with a third that fails, four in transactions. */
export type DbosWork = "plain" | "compensated" | "transactional";

/** What the peer's process is told. */
export type DbosRequest =
  | { readonly kind: "start"; readonly url: string; readonly version: DbosVersion }
  | {
      readonly kind: "run";
      readonly work: DbosWork;
      readonly ms: number;
      readonly writers: number;
    };
/** What it answers. */
export type DbosAnswer =
  | { readonly kind: "started" }
  | { readonly kind: "measured"; readonly slice: Slice };

/** DBOS in a database and a process of its own: two versions do not share one. */
export interface DbosPeer extends AsyncDisposable {
  readonly name: string;
  /** Makes the load beside the workflows, as for the library, and counts there. */
  run(work: DbosWork, options: { readonly ms: number; readonly writers: number }): Promise<Slice>;
  /** What the vacuum and the checkpointer would do in the middle of a slice. */
  settle(): Promise<void>;
}

/** Starts the process, which installs the peer's schema. */
export async function openDbos(
  server: EmbeddedPostgres,
  { database, version }: { readonly database: string; readonly version: DbosVersion },
): Promise<DbosPeer> {
  const url = await server.createDatabase(database);
  const child = forkChild<DbosRequest, DbosAnswer>(
    new URL("dbos-child.ts", import.meta.url),
    // It uses pg in a way that pg warns of; nothing that a reader of the figures can change.
    ["--disable-warning=DeprecationWarning"],
  );
  try {
    await child.ask({ kind: "start", url, version });
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
  return {
    name: `DBOS ${version}`,
    async run(work, { ms, writers }) {
      const answer = await child.ask({ kind: "run", work, ms, writers });
      if (answer.kind !== "measured") throw new Error(`DBOS ${version} has measured nothing`);
      return answer.slice;
    },
    async settle() {
      const client = new Client({ connectionString: url });
      await client.connect();
      try {
        await client.query("vacuum analyze");
      } finally {
        await client.end();
      }
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
