import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DureError } from "../core/errors.ts";
import { startEmbeddedPostgres } from "../embedded/index.ts";
import { quoteIdentifier } from "../postgres/pool.ts";

/** URLs by the names of `databases`. */
export type DatabaseUrls = Readonly<Record<string, string>>;

/** A set of databases for one run. Disposing drops them, whoever is still connected. */
export interface RunDatabases extends AsyncDisposable {
  readonly urls: DatabaseUrls;
}

/** The server on which the runs happen. */
export interface RunServer extends AsyncDisposable {
  /** What each run starts with. To be filled, and left by all, before the first clone. */
  readonly templates: DatabaseUrls;
  clone(): Promise<RunDatabases>;
}

/** Opens the server of that URL, or an embedded one in a temporary folder that goes away with it. */
export async function openRunServer({
  serverUrl,
  names,
  signal,
}: {
  readonly serverUrl: string | undefined;
  readonly names: readonly string[];
  readonly signal: AbortSignal;
}): Promise<RunServer> {
  await using opening = new AsyncDisposableStack();
  const url = serverUrl ?? (await startServer(opening, signal));
  const admin = await connect(opening, url);
  const id = randomUUID().slice(0, 8);
  let cloneCount = 0;
  const create = async (
    label: string,
    template: (name: string) => string,
  ): Promise<RunDatabases> => {
    const databases = names.map((name) => [name, `dure_explorer_${id}_${name}_${label}`] as const);
    for (const [name, database] of databases) {
      const [made, from] = [quoteIdentifier(database), quoteIdentifier(template(name))];
      await admin.query(`create database ${made} template ${from}`);
    }
    return {
      urls: Object.fromEntries(databases.map(([name, database]) => [name, urlOf(url, database)])),
      async [Symbol.asyncDispose]() {
        for (const [, database] of databases) {
          await admin.query(`drop database if exists ${quoteIdentifier(database)} with (force)`);
        }
      },
    };
  };
  const templates = opening.use(await create("template", () => "template0"));
  const rest = opening.move();
  return {
    templates: templates.urls,
    clone: () =>
      create(String((cloneCount += 1)), (name) => `dure_explorer_${id}_${name}_template`),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

async function startServer(opening: AsyncDisposableStack, signal: AbortSignal): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "dure-explorer-"));
  opening.defer(() => rm(folder, { recursive: true, force: true }));
  const server = await startEmbeddedPostgres({
    dataDir: join(folder, "postgres"),
    // Processes are killed, never the computer: what was written is there without fsync as well.
    settings: { fsync: "off", full_page_writes: "off" },
    signal,
  });
  opening.use(server);
  return server.url;
}

interface Admin {
  query(text: string): Promise<unknown>;
}

async function connect(opening: AsyncDisposableStack, url: string): Promise<Admin> {
  const { default: pg } = await import("pg").catch((cause: unknown) => {
    const what = "explore needs the npm package pg: run `npm install pg`";
    throw new DureError("CONFIGURATION_INVALID", what, { cause });
  });
  const admin = new pg.Client({ connectionString: url, application_name: "dure explorer" });
  admin.on("error", () => undefined); // a server that ends in between also fails the next statement
  try {
    await admin.connect();
  } catch (cause) {
    const what = "serverUrl: the server cannot be reached; the cause says why";
    throw new DureError("DATABASE_UNAVAILABLE", what, { cause });
  }
  opening.defer(() => admin.end().catch(() => undefined));
  return admin;
}

function urlOf(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}
