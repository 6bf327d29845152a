import { type ChildProcess, spawn } from "node:child_process";
import { open, readFile, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { settledWithin } from "../core/abort.ts";
import type { PostgresBinaries } from "./binaries.ts";
import { type Cluster, programEnvironment } from "./cluster.ts";
import { pollUntil } from "./poll.ts";
import type { RunUser } from "./run-user.ts";

const LOG_BYTES_MAX = 10 * 1024 * 1024;
/** Long, since a server that crashed may have to replay a lot of log before it is ready. */
const READY_TIMEOUT_MS = 120_000;
const IMMEDIATE_SHUTDOWN_MS = 5_000;
const LAST_GOODBYES_MS = 300;

/** A running server: its process id, its end, and the way to end it. */
export interface ServerProcess {
  readonly pid: number;
  readonly exited: Promise<void>;
  stop(withinMs: number): Promise<void>;
}

/** How a start ended: with a server, or with the last lines of its log. */
export type ServerStart =
  | { readonly kind: "started"; readonly server: ServerProcess }
  | { readonly kind: "failed"; readonly reason: "locked" | "other"; readonly logTail: string };

/** What a server is started with. */
export interface ServerStartOptions {
  readonly binaries: PostgresBinaries;
  readonly cluster: Cluster;
  readonly user: RunUser;
  readonly settings: Readonly<Record<string, string | number>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Starts postgres and waits until it accepts connections. It runs in a session of its own, so the
 * terminal's Ctrl-C reaches only this process, which then stops it in order. If this process dies,
 * the server goes on; the next start on its data directory ends it first.
 */
export async function startServer(options: ServerStartOptions): Promise<ServerStart> {
  const { cluster, signal } = options;
  const logPath = `${cluster.dataDir}.log`;
  const logSize = (await stat(logPath).catch(() => undefined))?.size ?? 0;
  if (logSize > LOG_BYTES_MAX) await truncate(logPath, 0);
  const log = await open(logPath, "a", 0o600);
  try {
    const logStart = (await log.stat()).size;
    const child = spawnPostgres(options, log.fd);
    const server = asServerProcess(child);
    try {
      let hasEnded = false;
      void server.exited.then(() => (hasEnded = true));
      let isReady = false;
      const isDecided = async () => {
        isReady = await hasReadyStatus(cluster.dataDir, server.pid);
        return isReady || hasEnded;
      };
      await pollUntil(isDecided, { timeoutMs: READY_TIMEOUT_MS, signal });
      if (isReady && !hasEnded) return { kind: "started", server };
      await server.stop(IMMEDIATE_SHUTDOWN_MS);
      const logTail = (await readFile(logPath)).subarray(logStart).toString("utf8");
      // F0001 is lock_file_exists: a server, or the last processes of a killed one, are still there.
      const reason = /\] F0001 FATAL/.test(logTail) ? "locked" : "other";
      return { kind: "failed", reason, logTail: logTail.trim().split("\n").slice(-12).join("\n") };
    } catch (error) {
      await server.stop(IMMEDIATE_SHUTDOWN_MS);
      throw error;
    }
  } finally {
    await log.close();
  }
}

function spawnPostgres({ binaries, cluster, user, settings }: ServerStartOptions, logFd: number) {
  const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  return spawn(binaries.postgres, ["-D", cluster.dataDirArgument, ...args], {
    ...user,
    cwd: cluster.dataDir,
    env: programEnvironment(),
    detached: true,
    stdio: ["ignore", logFd, logFd],
  });
}

function asServerProcess(child: ChildProcess): ServerProcess {
  const exited = new Promise<void>((resolve) => {
    child.once("error", () => resolve()); // not even started: the exit below will not come
    child.once("exit", () => resolve());
  });
  const stop = async (withinMs: number): Promise<void> => {
    // Smart shutdown: sessions that are saying goodbye get to finish, so that a pool which was ended a
    // moment ago does not see its connections cut.
    child.kill("SIGTERM");
    if (await settledWithin(exited, Math.min(withinMs, LAST_GOODBYES_MS))) return;
    // Fast shutdown: sessions are ended, everything committed is on disk, no recovery later.
    child.kill("SIGINT");
    if (await settledWithin(exited, withinMs)) return;
    // Immediate shutdown: what is committed is in the log, and the next start replays it.
    child.kill("SIGQUIT");
    if (await settledWithin(exited, IMMEDIATE_SHUTDOWN_MS)) return;
    child.kill("SIGKILL");
    await exited;
  };
  return { pid: child.pid ?? 0, exited, stop };
}

/** The eighth line of the lock file is the server's own word on its state; pg_ctl waits on it too. */
async function hasReadyStatus(dataDir: string, pid: number): Promise<boolean> {
  const text = await readFile(join(dataDir, "postmaster.pid"), "utf8").catch(() => "");
  const lines = text.split("\n");
  return Number(lines[0]) === pid && lines[7]?.trim() === "ready";
}
