/**
 * The embedded server keeps its data through every way a process can end, and runs for every user
 * in every folder. These tests start servers of their own beside the run's.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/embedded/index.ts";
import { spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import { waitFor } from "../support/wait-for.ts";
import { copyOfLibrary, isRoot, ordinaryUser, reachableLibrary } from "./embedded-copies.ts";

const childFile: URL = new URL("embedded-child.ts", import.meta.url);
let folder: string;
let dataDir: string;
const running: EmbeddedPostgres[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dure-embedded-"));
  dataDir = join(folder, "postgres");
});

afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
  await rm(folder, { recursive: true, force: true });
});

async function start(
  options: Partial<Parameters<typeof startEmbeddedPostgres>[0]> = {},
): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir, ...options });
  running.push(server);
  return server;
}

async function query(url: string, text: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {}); // some tests kill the server; the query reports it
  await client.connect();
  try {
    return (await client.query<unknown[]>({ text, rowMode: "array" })).rows;
  } finally {
    await client.end();
  }
}

const remember = (url: string) => query(url, "create table note as select 42 as answer");
const recall = (url: string) => query(url, "select answer from note");

/** A zombie has ended; where no init process collects orphans it stays in the table. */
async function isAlive(pid: number): Promise<boolean> {
  if (process.platform === "linux") {
    const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") Z");
    return !status.slice(status.lastIndexOf(")")).startsWith(") Z");
  }
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

type Started = { event: "started"; url: string; pid: number };
const isStarted = (message: unknown): message is Started =>
  typeof message === "object" &&
  message !== null &&
  "event" in message &&
  message.event === "started";

async function stopChild(child: SpawnedChild): Promise<void> {
  child.send("stop");
  expect(await child.waitForExit()).toEqual({ code: 0, signal: null });
}

describe("a server and its data", () => {
  it("a restart keeps the data and the password", async () => {
    const first = await start();
    await remember(first.url);
    await first.stop();
    expect(await isAlive(first.pid)).toBe(false);
    const second = await start();
    expect(await recall(second.url)).toEqual([[42]]);
    expect(new URL(second.url).password).toBe(new URL(first.url).password);
  });

  it("has the settings our features need, and the caller's win", async () => {
    const server = await start({ settings: { max_connections: 37, work_mem: "5MB" } });
    const names = [
      "wal_level",
      "max_connections",
      "work_mem",
      "max_prepared_transactions",
      "fsync",
    ];
    const values = await Promise.all(names.map((name) => query(server.url, `show ${name}`)));
    expect(values.flat(2)).toEqual(["logical", "37", "5MB", "20", "on"]);
  });

  it("sorts by code point on every machine", async () => {
    const server = await start();
    const text = `select datlocprovider, datlocale, pg_encoding_to_char(encoding),
      (select string_agg(x, '' order by x) from unnest(array['b', 'B', 'ä', 'a']) x)
      from pg_database where datname = 'template1'`;
    expect(await query(server.url, text)).toEqual([["b", "C.UTF-8", "UTF8", "Babä"]]);
  });

  it("createDatabase answers the URL of the same database each time, whatever its name", async () => {
    const server = await start();
    const name = 'Shop "1" ä%';
    const urls = await Promise.all([server.createDatabase(name), server.createDatabase(name)]);
    expect(urls[0]).toBe(urls[1]);
    expect(await query(urls[0], "select current_database()")).toEqual([[name]]);
    for (const invalid of ["", "ä".repeat(32), "a/b", "a\0b"]) {
      await expect(server.createDatabase(invalid)).rejects.toMatchObject({
        code: "CONFIGURATION_INVALID",
      });
    }
  });

  it("stop ends open sessions, may be called twice, and leaves no owner behind", async () => {
    const server = await start();
    const client = new pg.Client({ connectionString: server.url });
    client.on("error", () => {});
    await client.connect();
    await Promise.all([server.stop(), server.stop()]);
    await expect(client.query("select 1")).rejects.toThrow();
    expect(await readFile(`${dataDir}.log`, "utf8")).toContain("received fast shutdown request");
    expect((await readdir(folder)).toSorted()).toEqual([
      "postgres",
      "postgres.log",
      "postgres.password",
    ]);
  });

  it("only its own password opens it, and only its owner can read that", async () => {
    const server = await start();
    const url = new URL(server.url);
    url.password = "guess";
    await expect(query(url.href, "select 1")).rejects.toMatchObject({ code: "28P01" });
    expect((await stat(`${dataDir}.password`)).mode & 0o777).toBe(0o600);
  });

  it("a lost password file is replaced and the data kept", async () => {
    const first = await start();
    await remember(first.url);
    await first.stop();
    await rm(`${dataDir}.password`);
    const second = await start();
    expect(second.url.replace(/:\d+\//, "/")).not.toBe(first.url.replace(/:\d+\//, "/"));
    expect(await recall(second.url)).toEqual([[42]]);
  });

  it("empties its log at a start when it has grown over 10 MB", async () => {
    await writeFile(`${dataDir}.log`, Buffer.alloc(11 * 1024 * 1024, "x"));
    await start();
    expect((await stat(`${dataDir}.log`)).size).toBeLessThan(100_000);
  });
});

describe("after a death", () => {
  it("of the server by SIGKILL, the owner is told and the next start recovers the data", async () => {
    const errors: string[] = [];
    const logger = {
      debug() {},
      info() {},
      warn() {},
      error: (text: string) => void errors.push(text),
    };
    const first = await start({ logger });
    await remember(first.url);
    process.kill(first.pid, "SIGKILL");
    await waitFor(() => errors.length > 0, { what: "the report of the server's end" });
    expect(await readFile(join(dataDir, "postmaster.pid"), "utf8")).toContain(String(first.pid));
    const second = await start();
    expect(await recall(second.url)).toEqual([[42]]);
  });

  it("of the starting process by SIGKILL, the next start ends the orphan and takes over", async () => {
    await using child = spawnChild(childFile, { args: [dataDir] });
    const orphan = await child.waitForMessage(isStarted);
    await remember(orphan.url);
    child.kill("SIGKILL");
    await child.waitForExit();
    expect(await recall(orphan.url)).toEqual([[42]]);
    const server = await start();
    expect(await isAlive(orphan.pid)).toBe(false);
    expect(await recall(server.url)).toEqual([[42]]);
  });

  it("of the starting process and then of the orphan, the next start recovers the data", async () => {
    await using child = spawnChild(childFile, { args: [dataDir] });
    const orphan = await child.waitForMessage(isStarted);
    await remember(orphan.url);
    child.kill("SIGKILL");
    await child.waitForExit();
    process.kill(orphan.pid, "SIGKILL");
    const server = await start();
    expect(await recall(server.url)).toEqual([[42]]);
  });

  it("in the middle of initdb, the next start begins again", async () => {
    await using child = spawnChild(childFile, { args: [dataDir] });
    const hasBegun = async () => (await readdir(folder)).some((name) => name.includes(".initdb-"));
    await waitFor(hasBegun, { what: "initdb's beginning", intervalMs: 1 });
    child.kill("SIGKILL");
    await child.waitForExit();
    expect(await hasBegun()).toBe(true);
    const server = await start();
    expect(await hasBegun()).toBe(false);
    await remember(server.url);
  });

  it("a lock file whose process id is another program's, or a zombie's, stops no start", async () => {
    const first = await start();
    await first.stop();
    const { uid, gid } = await stat(dataDir);
    // The shell becomes a sleep that never asks after its child, which thus stays a zombie.
    const script = "sleep 0 & echo $!; exec sleep 60";
    const other = spawn("sh", ["-c", script], isRoot ? { uid, gid } : {});
    try {
      const zombie = Number((await once(other.stdout, "data"))[0]);
      await waitFor(async () => !(await isAlive(zombie)), { what: "the zombie's end" });
      for (const pid of [other.pid, zombie]) {
        await writeFile(join(dataDir, "postmaster.pid"), `${pid}\n${dataDir}\n`);
        const server = await start();
        await server.stop();
      }
    } finally {
      other.kill("SIGKILL");
    }
  });

  it("Ctrl-C reaches the process and not its server, which is stopped in order", async () => {
    await using child = spawnChild(childFile, { args: [dataDir], detached: true });
    const { pid } = await child.waitForMessage(isStarted);
    child.killGroup("SIGINT");
    await child.waitForExit();
    expect(child.messages.slice(1)).toEqual([
      { event: "interrupted", isServerAlive: true },
      { event: "stopped" },
    ]);
    expect(await isAlive(pid)).toBe(false);
    expect(await readFile(`${dataDir}.log`, "utf8")).toContain("database system is shut down");
  });
});

describe("a refusal", () => {
  const inUse = { code: "EMBEDDED_POSTGRES_IN_USE" };

  it("names server and folder when a live process holds the data, and harms it not", async () => {
    await using child = spawnChild(childFile, { args: [dataDir] });
    const { pid, url } = await child.waitForMessage(isStarted);
    const error = await start().catch((reason: unknown) => reason);
    expect(error).toMatchObject(inUse);
    for (const fact of [dataDir, pid, child.pid]) expect(String(error)).toContain(String(fact));
    expect(await query(url, "select 1")).toEqual([[1]]);
    await stopChild(child);
    await start();
  });

  it("leaves alone a server that somebody else started on the data", async () => {
    const server = await start();
    await rm(`${dataDir}.owner`);
    await expect(start()).rejects.toMatchObject(inUse);
    expect(await query(server.url, "select 1")).toEqual([[1]]);
  });

  it("names the port when another program has it", async () => {
    const other = createServer();
    const port = await new Promise<number>((resolve) => {
      other.listen(0, "127.0.0.1", () => resolve((other.address() as { port: number }).port));
    });
    try {
      const error = await start({ port }).catch((reason: unknown) => reason);
      expect(error).toMatchObject(inUse);
      expect(String(error)).toContain(`Port ${port} of 127.0.0.1`);
    } finally {
      await new Promise((resolve) => other.close(resolve));
    }
    expect((await start({ port })).port).toBe(port);
  });

  it("of the server's own shows the end of its log", async () => {
    await expect(start({ settings: { no_such_setting: 1 } })).rejects.toMatchObject({
      code: "EMBEDDED_POSTGRES_FAILED",
      message: expect.stringContaining('parameter "no_such_setting"') as string,
    });
    await start();
  });

  it("meets hosts that are not loopback and settings that are ours", async () => {
    const invalid = { code: "CONFIGURATION_INVALID" };
    const host = "0.0.0.0" as "127.0.0.1"; // what a caller without types can do
    await expect(start({ host })).rejects.toMatchObject(invalid);
    await expect(start({ port: 70_000 })).rejects.toMatchObject(invalid);
    await expect(start({ settings: { listen_addresses: "*" } })).rejects.toMatchObject(invalid);
    await expect(start({ settings: { "a=b -c c": 1 } })).rejects.toMatchObject(invalid);
  });

  it("protects folders with other content and clusters of other versions", async () => {
    const failed = { code: "EMBEDDED_POSTGRES_FAILED" };
    await mkdir(dataDir);
    await writeFile(join(dataDir, "thesis.txt"), "…");
    await expect(start()).rejects.toMatchObject({
      ...failed,
      message: expect.stringContaining("thesis.txt") as string,
    });
    await writeFile(join(dataDir, "PG_VERSION"), "12\n");
    await expect(start()).rejects.toMatchObject({
      ...failed,
      message: expect.stringContaining("PostgreSQL 12") as string,
    });
    expect(await readFile(join(dataDir, "thesis.txt"), "utf8")).toBe("…");
  });

  it("an aborted start ends with the signal's reason and leaves nothing that hinders the next", async () => {
    const controller = new AbortController();
    const starting = start({ signal: controller.signal });
    const hasBegun = async () => (await readdir(folder)).some((name) => name.includes(".initdb-"));
    await waitFor(hasBegun, { what: "initdb's beginning", intervalMs: 1 });
    const reason = new Error("enough");
    controller.abort(reason);
    await expect(starting).rejects.toBe(reason);
    expect((await readdir(folder)).includes("postgres")).toBe(false);
    await start();
  });
});

describe("a user and a folder", () => {
  it("an ordinary user's server is the user's, and root finds the data again", async () => {
    const { uid, gid } = ordinaryUser;
    await chmod(folder, 0o777);
    const library = await reachableLibrary(folder);
    await using child = spawnChild(library.childFile, {
      ...library,
      uid,
      gid,
      args: [dataDir, library.entry],
    });
    const { url } = await child.waitForMessage(isStarted);
    await remember(url);
    await stopChild(child);
    expect((await stat(dataDir)).uid).toBe(uid);
    if (!isRoot) return;
    const server = await start();
    expect(await recall(server.url)).toEqual([[42]]);
    expect((await stat(dataDir)).uid).toBe(uid);
  });

  // Without the first the server does not even load; without the second it fails later.
  it.each(["lib", "libpq"])(
    "npm without scripts, so without links to %s*, is no obstacle",
    async (name) => {
      const library = await copyOfLibrary(join(folder, "clone"), { linksLeftOut: name });
      const cache = join(folder, "cache");
      await chmod(folder, 0o755);
      const env = { XDG_CACHE_HOME: cache };
      await using child = spawnChild(library.childFile, { env, args: [dataDir, library.entry] });
      await child.waitForMessage(isStarted);
      await stopChild(child);
      expect(await readdir(join(cache, "dure"))).toHaveLength(1);
    },
  );
});

// PostgreSQL refuses root, so as root it runs as another account, which the folders may shut out.
// There is nothing to prove about that for an ordinary user.
if (isRoot)
  describe("root", () => {
    it("runs the server as another user, in a folder that user cannot reach", async () => {
      await chmod(folder, 0o700);
      const first = await start();
      expect((await stat(dataDir)).uid).not.toBe(0);
      await remember(first.url);
      await first.stop();
      const second = await start();
      expect(await recall(second.url)).toEqual([[42]]);
      await query(second.url, "checkpoint");
      await query(second.url, "select pg_reload_conf()");
      await query(await second.createDatabase("other"), "create table x as select 1");
    });

    it("copies the programs once when their folder is shut to that user", async () => {
      const library = await copyOfLibrary(join(folder, "clone"), {});
      await chmod(folder, 0o755);
      await chmod(join(folder, "clone"), 0o700);
      const cache = join(folder, "cache");
      for (const _ of ["first", "second"]) {
        const env = { XDG_CACHE_HOME: cache };
        await using child = spawnChild(library.childFile, { env, args: [dataDir, library.entry] });
        const { pid } = await child.waitForMessage(isStarted);
        const command = await readFile(`/proc/${pid}/cmdline`, "utf8");
        expect(command.startsWith(join(cache, "dure", "postgres-"))).toBe(true);
        await stopChild(child);
      }
      expect(await readdir(join(cache, "dure"))).toHaveLength(1);
    });
  });
