import { type ChildProcess, execFile, spawn } from "node:child_process";
import { access, chmod, chown, constants, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { chooseRunUser } from "../../src/embedded/run-user.ts";
import { waitFor, within } from "./wait-for.ts";

const run = promisify(execFile);

/** How a pooler is started. */
export interface PgBouncerOptions {
  /** Connections to the server at most: few, so that clients meet each other's. @defaultValue 4 */
  readonly serverConnectionsMax?: number;
  /** Further lines of the section `[pgbouncer]`. */
  readonly settings?: Readonly<Record<string, string | number>>;
}

/** A pooler in transaction mode in front of a database. Disposing stops it. */
export interface PgBouncer {
  /** The database's URL, by way of the pooler. */
  readonly url: string;
  /** Asks the pooler's own console, for example `show servers`. */
  ask(command: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Where the program is; undefined: nowhere. Ordinary users do not have `sbin` on their path. */
export async function findPgBouncer(): Promise<string | undefined> {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];
  for (const folder of folders) {
    const path = join(folder, "pgbouncer");
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
}

/** Named statements are known to it since 1.21, where they can also be switched off. */
export async function knowsNamedStatements(program: string): Promise<boolean> {
  const { stdout } = await run(program, ["--version"]);
  const [, major = "0", minor = "0"] = /(\d+)\.(\d+)/.exec(stdout) ?? [];
  return Number(major) > 1 || Number(minor) >= 21;
}

/** Starts it in front of the database of this URL, on a free port, as a user that it accepts. */
export async function startPgBouncer(
  databaseUrl: string,
  { serverConnectionsMax = 4, settings = {} }: PgBouncerOptions = {},
): Promise<PgBouncer> {
  const program = await findPgBouncer();
  if (program === undefined) throw new Error("pgbouncer is not installed");
  const folder = await mkdtemp(join(tmpdir(), "dure-pgbouncer-"));
  const target = new URL(databaseUrl);
  const port = await freePort();
  const user = decodeURIComponent(target.username);
  const section = {
    listen_addr: "127.0.0.1",
    listen_port: port,
    unix_socket_dir: "",
    auth_type: "scram-sha-256",
    auth_file: join(folder, "users.txt"),
    admin_users: user,
    pool_mode: "transaction",
    default_pool_size: serverConnectionsMax,
    max_client_conn: 500,
    // After a login that failed it tries no other for this long; its own value is 15 seconds.
    server_login_retry: 1,
    ...settings,
  };
  const lines = Object.entries(section).map(([name, value]) => `${name} = ${value}`);
  await writeFile(
    join(folder, "pgbouncer.ini"),
    `[databases]\n* = host=${target.hostname} port=${target.port}\n\n[pgbouncer]\n${lines.join("\n")}\n`,
  );
  await writeFile(section.auth_file, `"${user}" "${decodeURIComponent(target.password)}"\n`);
  // As PostgreSQL does, it refuses to run as root.
  const runUser = await chooseRunUser(folder);
  if (runUser.uid !== undefined && runUser.gid !== undefined) {
    await chmod(folder, 0o700);
    for (const path of [folder, join(folder, "pgbouncer.ini"), section.auth_file]) {
      await chown(path, runUser.uid, runUser.gid);
    }
  }
  const child = spawn(program, [join(folder, "pgbouncer.ini")], {
    ...runUser,
    cwd: "/",
    stdio: ["ignore", "pipe", "pipe"],
  });
  const killWithUs = (): void => void child.kill("SIGKILL");
  process.once("exit", killWithUs);
  const url = new URL(target);
  url.host = `127.0.0.1:${port}`;
  const console = new URL(url);
  console.pathname = "/pgbouncer";
  const ask = (command: string) => askConsole(console.href, command);
  const stop = async () => {
    await stopChild(child);
    process.off("exit", killWithUs);
    await rm(folder, { recursive: true, force: true });
  };
  await waitUntilReady(child, () => ask("show version")).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { url: url.href, ask, [Symbol.asyncDispose]: stop };
}

async function waitUntilReady(child: ChildProcess, isReady: () => Promise<unknown>): Promise<void> {
  let log = "";
  const note = (bytes: Buffer): void => {
    log = (log + bytes.toString()).slice(-4_000);
  };
  child.stdout?.on("data", note);
  child.stderr?.on("data", note);
  child.once("error", (error) => note(Buffer.from(error.message)));
  await waitFor(
    () => {
      if (child.exitCode !== null) throw new Error(`pgbouncer ended at once:\n${log}`);
      return isReady().then(
        () => true,
        () => false,
      );
    },
    { what: "pgbouncer to answer" },
  ).catch((cause: unknown) => {
    throw new Error(`pgbouncer did not start:\n${log}`, { cause });
  });
}

async function askConsole(
  url: string,
  command: string,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {}); // also said by the query
  try {
    await client.connect();
    const { rows } = await client.query<Record<string, unknown>>(command);
    return rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** SIGTERM ends it at once, whoever is connected. */
async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGTERM");
  await within(exited, { what: "pgbouncer's end", timeoutMs: 5_000 }).catch(() => {
    child.kill("SIGKILL");
  });
  await exited;
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen({ host: "127.0.0.1", port: 0 }, () => {
      const address = probe.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}
