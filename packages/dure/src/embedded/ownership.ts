import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { link, readFile, readlink, realpath, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { DureError } from "../core/errors.ts";
import { pollUntil } from "./poll.ts";

const run = promisify(execFile);
const FAST_SHUTDOWN_MS = 15_000;
const IMMEDIATE_SHUTDOWN_MS = 5_000;

interface Owner {
  readonly pid: number;
  readonly identity: string;
}

/** The right of one process to start and stop the server of one data directory. */
export interface Ownership {
  /** Whether a process that died held it before: a server found running is then its orphan. */
  readonly isInherited: boolean;
  release(): Promise<void>;
}

/**
 * Gives the data directory to this process, or throws if a live process holds it. The right is a
 * file beside the directory naming the holder and its start time, so the right of a process that
 * died, even by SIGKILL, is void at once. Two processes that take over a dead holder's file at the
 * same instant are told apart by reading it again after the rename; should both still slip through,
 * PostgreSQL's own lock file and the rename of initdb's result keep the data safe.
 *
 * @throws DureError EMBEDDED_POSTGRES_IN_USE
 */
export async function takeOwnership(dataDir: string): Promise<Ownership> {
  const path = `${dataDir}.owner`;
  const own: Owner = { pid: process.pid, identity: (await identityOf(process.pid)) ?? "" };
  const text = JSON.stringify(own);
  let isInherited = false;
  for (let attempt = 0; attempt < 5; attempt += 1) {
    if (await createWhole(path, text)) {
      return { isInherited, release: () => releaseOwnership(path, text) };
    }
    const found = await readFile(path, "utf8").catch(() => undefined);
    if (found === undefined) continue;
    const holder = parseOwner(found);
    if (holder !== undefined && (await identityOf(holder.pid)) === holder.identity) {
      throw inUse(dataDir, await findLiveServer(dataDir), holder.pid);
    }
    isInherited = (await removeVoid(path, found)) || isInherited;
  }
  throw new DureError(
    "EMBEDDED_POSTGRES_IN_USE",
    `Several processes are starting the data directory ${dataDir} at once: start it in one of them.`,
  );
}

/**
 * Ends the server that a killed process left behind, so that a new one with the wanted settings can
 * start. Call it only while holding the ownership. A server that was never ours is left alone.
 *
 * @throws DureError EMBEDDED_POSTGRES_IN_USE
 */
export async function stopOrphan(
  dataDir: string,
  { isInherited }: Ownership,
): Promise<number | undefined> {
  const pid = await findLiveServer(dataDir);
  if (pid === undefined) return undefined;
  if (!isInherited) throw inUse(dataDir, pid, undefined);
  // SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (recovery at the next start).
  for (const [signal, timeoutMs] of [
    ["SIGINT", FAST_SHUTDOWN_MS],
    ["SIGQUIT", IMMEDIATE_SHUTDOWN_MS],
  ] as const) {
    signalIfAlive(pid, signal);
    const isGone = async () => (await findLiveServer(dataDir)) !== pid;
    if (await pollUntil(isGone, { timeoutMs })) return pid;
  }
  throw inUse(dataDir, pid, undefined);
}

/** The process id of the server that runs on this data directory, if one does. */
export async function findLiveServer(dataDir: string): Promise<number | undefined> {
  const lockFile = join(dataDir, "postmaster.pid");
  const text = await readFile(lockFile, "utf8").catch(() => undefined);
  const pid = Number(text?.split("\n")[0]);
  if (!Number.isInteger(pid) || pid <= 1 || !isAlive(pid)) return undefined;
  if (process.platform !== "linux") {
    const command = await run("ps", ["-o", "comm=", "-p", String(pid)]).catch(() => undefined);
    return command?.stdout.includes("postgres") === true ? pid : undefined;
  }
  const workingDirectory = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
  if (workingDirectory === (await realpath(dataDir))) return pid;
  // A server's working directory is its data directory, so this id now belongs to another program
  // (ids repeat in containers), or to the zombie of a server that nobody collects, which has none.
  // PostgreSQL itself cannot tell and would refuse to start.
  const isKnown = workingDirectory !== undefined || (await identityOf(pid)) === undefined;
  if (isKnown) await rm(lockFile, { force: true });
  return undefined;
}

function inUse(dataDir: string, serverPid: number | undefined, holderPid: number | undefined) {
  const facts = [
    serverPid === undefined ? undefined : `a PostgreSQL server with pid ${serverPid} runs on it`,
    holderPid === undefined ? undefined : `the process with pid ${holderPid} holds it`,
  ].filter((fact) => fact !== undefined);
  return new DureError(
    "EMBEDDED_POSTGRES_IN_USE",
    `The data directory ${dataDir} is in use: ${facts.join(" and ")}. Stop it, or choose another ` +
      "data directory.",
  );
}

/** Creates the file with all of its text or not at all; false if there is one already. */
async function createWhole(path: string, text: string): Promise<boolean> {
  const draft = `${path}.${randomUUID()}`;
  try {
    await writeFile(draft, text, { mode: 0o600 });
    await link(draft, path);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

async function removeVoid(path: string, expected: string): Promise<boolean> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
    const moved = await readFile(aside, "utf8");
    if (moved === expected) return true;
    // Somebody else took over between our read and our rename: give the right back.
    await createWhole(path, moved);
    return false;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  } finally {
    await rm(aside, { force: true });
  }
}

async function releaseOwnership(path: string, text: string): Promise<void> {
  const found = await readFile(path, "utf8").catch(() => undefined);
  if (found === text) await rm(path, { force: true });
}

function parseOwner(text: string): Owner | undefined {
  try {
    const value = JSON.parse(text) as Partial<Owner> | null; // every field is checked below
    if (typeof value?.pid !== "number" || typeof value.identity !== "string") return undefined;
    return { pid: value.pid, identity: value.identity };
  } catch {
    return undefined; // not written by us, or damaged: it holds nothing
  }
}

/** A process id together with its start time: unlike the id alone, never used twice. */
async function identityOf(pid: number): Promise<string | undefined> {
  try {
    if (process.platform !== "linux") {
      const { stdout } = await run("ps", ["-o", "lstart=", "-p", String(pid)]);
      return stdout.trim();
    }
    const status = await readFile(`/proc/${pid}/stat`, "utf8");
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
    // The name, second field, may hold blanks; the state is the first field after its bracket and
    // the start time the twentieth. A zombie holds nothing any more.
    const fields = status.slice(status.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : `${boot.trim()}:${fields[19]}`;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, "EPERM");
  }
}

function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!hasCode(error, "ESRCH")) throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
