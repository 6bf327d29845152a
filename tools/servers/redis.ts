// A real Redis without Docker, for tests and for people:
// `node tools/servers/redis.ts [--port 6379] [--data DIR] [--append-fsync always|everysec|no|off]`.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { access, constants, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";

const run = promisify(execFile);

/** What Redis keeps when it dies: `off` keeps nothing; `no` leaves it to the system when to write. */
export type AppendFsync = "always" | "everysec" | "no" | "off";

/** How a server is started. */
export interface RedisServerOptions {
  /** @defaultValue a free one */
  readonly port?: number;
  /** Kept when the server is disposed. @defaultValue a new folder, removed when the server is disposed */
  readonly dataDir?: string;
  /** @defaultValue "everysec" */
  readonly appendFsync?: AppendFsync;
  /** Further settings, as in redis.conf. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A server of ours. After `stop` and `kill` it can be started again, on the same port and data. */
export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  /** Resolves when it answers. */
  start(): Promise<void>;
  /** SIGTERM: it writes what it has. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Kills it and starts it again. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay, and nothing answers. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  /** Forgets everything, as FLUSHALL. */
  flush(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The program, and the libraries that it needs beside those of the system. */
export interface RedisProgram {
  readonly path: string;
  readonly libraryPath?: string;
}

/** Why there is no Redis here, for those who leave a test out. */
export const redisMissing =
  "redis-server is not installed (Debian: apt-get install redis-server) and could not be fetched";

/** The program on the path, else the one fetched before, else fetches it from Debian; undefined: nowhere. */
export async function findRedisServer(): Promise<RedisProgram | undefined> {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  for (const folder of [...folders, "/usr/bin", "/usr/local/bin"]) {
    const path = join(folder, "redis-server");
    if (await isProgram(path)) return { path };
  }
  const cache = join(cacheFolder(), "redis");
  if (!(await isProgram(join(cache, "usr/bin/redis-server")))) {
    await fetchFromDebian(cache).catch(() => undefined);
  }
  const path = join(cache, "usr/bin/redis-server");
  if (!(await isProgram(path))) return undefined;
  const libraries = await readdir(join(cache, "usr/lib"), { withFileTypes: true });
  const libraryPath = libraries
    .filter((entry) => entry.isDirectory() && entry.name.endsWith("-linux-gnu"))
    .map((entry) => join(cache, "usr/lib", entry.name))
    .join(delimiter);
  const program = { path, libraryPath };
  const answer = run(path, ["--version"], { env: environmentOf(program) });
  return answer.then(
    () => program,
    () => undefined,
  );
}

/** Starts a server and resolves when it answers. It dies with this process. */
export async function startRedisServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const program = await findRedisServer();
  if (program === undefined) throw new Error(redisMissing);
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "dure-redis-")));
  await mkdir(dataDir, { recursive: true });
  const port = options.port ?? (await freePort());
  const process_ = redisProcess(program, settingsOf(options, { port, dataDir }));
  const server: RedisServer = {
    url: `redis://127.0.0.1:${port}`,
    port,
    dataDir,
    start: () => process_.start(port),
    stop: () => process_.end("SIGTERM"),
    kill: () => process_.end("SIGKILL"),
    async restart() {
      await process_.end("SIGKILL");
      await process_.start(port);
    },
    freeze: () => process_.signal("SIGSTOP"),
    thaw: () => process_.signal("SIGCONT"),
    flush: async () => void (await askRedis(port, "FLUSHALL")),
    async [Symbol.asyncDispose]() {
      await process_.end("SIGKILL");
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
  await server.start().catch(async (error: unknown) => {
    await server[Symbol.asyncDispose]();
    throw error;
  });
  return server;
}

/** Resolves to the first line that a Redis on this port of this machine answers to an inline command. */
export async function askRedis(port: number, command: string, timeoutMs = 2_000): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port });
  try {
    return await new Promise((resolve, reject) => {
      let text = "";
      socket.setTimeout(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs} ms`)));
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("the connection was closed")));
      socket.on("data", (bytes) => {
        text += bytes.toString();
        const end = text.indexOf("\r\n");
        if (end >= 0) resolve(text.slice(0, end));
      });
      socket.write(`${command}\r\n`);
    });
  } finally {
    socket.destroy();
  }
}

function settingsOf(
  { appendFsync = "everysec", settings }: RedisServerOptions,
  { port, dataDir }: { port: number; dataDir: string },
): readonly string[] {
  const all = {
    port: String(port),
    bind: "127.0.0.1",
    dir: dataDir,
    save: "",
    appendonly: appendFsync === "off" ? "no" : "yes",
    ...(appendFsync === "off" ? {} : { appendfsync: appendFsync }),
    daemonize: "no",
    ...settings,
  };
  return Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]);
}

interface RedisProcess {
  start(port: number): Promise<void>;
  end(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
}

function redisProcess(program: RedisProgram, args: readonly string[]): RedisProcess {
  let child: ChildProcess | undefined;
  const killWithUs = (): void => void child?.kill("SIGKILL");
  return {
    async start(port) {
      if (child !== undefined) throw new Error(`the Redis of port ${port} is running`);
      const started = spawn(program.path, args, {
        env: environmentOf(program),
        stdio: ["ignore", "pipe", "pipe"],
      });
      child = started;
      process.once("exit", killWithUs);
      await waitUntilReady(started, port);
    },
    async end(signal) {
      const ending = child;
      child = undefined;
      process.off("exit", killWithUs);
      if (ending !== undefined) await endChild(ending, signal);
    },
    signal: (signal) => void child?.kill(signal),
  };
}

const READY_MS_MAX = 20_000;
const END_MS_MAX = 10_000;

async function waitUntilReady(child: ChildProcess, port: number): Promise<void> {
  let log = "";
  const note = (bytes: Buffer): void => {
    log = (log + bytes.toString()).slice(-4_000);
  };
  child.stdout?.on("data", note);
  child.stderr?.on("data", note);
  child.once("error", (error) => note(Buffer.from(error.message)));
  const deadline = performance.now() + READY_MS_MAX;
  while (performance.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
      throw new Error(`redis-server ended at once:\n${log}`);
    }
    // While it reads its file it answers LOADING.
    const answer = await askRedis(port, "PING").catch(() => "");
    if (answer === "+PONG") return;
    await delay(20);
  }
  throw new Error(`redis-server did not answer within ${READY_MS_MAX} ms:\n${log}`);
}

async function endChild(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGCONT"); // a frozen one would not see SIGTERM
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), END_MS_MAX);
  await ended;
  clearTimeout(timer);
}

/** Unpacks the packages into the cache, which needs no root; another process may do the same at a time. */
async function fetchFromDebian(cache: string): Promise<void> {
  await mkdir(cacheFolder(), { recursive: true });
  const folder = await mkdtemp(join(cacheFolder(), "redis-fetch-"));
  try {
    const packages = ["redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1"];
    const options = { cwd: folder, timeout: 60_000 };
    await run("apt-get", ["download", "-q", ...packages], options);
    const unpacked = join(folder, "unpacked");
    for (const name of await readdir(folder)) {
      if (name.endsWith(".deb")) await run("dpkg", ["-x", name, unpacked], options);
    }
    await rename(unpacked, cache);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function cacheFolder(): string {
  return join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "dure");
}

function environmentOf({ libraryPath }: RedisProgram): NodeJS.ProcessEnv {
  return libraryPath === undefined ? process.env : { ...process.env, LD_LIBRARY_PATH: libraryPath };
}

async function isProgram(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
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

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "6379" },
      data: { type: "string" },
      "append-fsync": { type: "string", default: "everysec" },
    },
  });
  const appendFsync = (["always", "everysec", "no", "off"] as const).find(
    (mode) => mode === values["append-fsync"],
  );
  if (appendFsync === undefined) throw new Error("--append-fsync is always, everysec, no or off");
  const server = await startRedisServer({
    port: Number(values.port),
    appendFsync,
    ...(values.data === undefined ? {} : { dataDir: values.data }),
  });
  console.log(`Redis answers at ${server.url}; Ctrl-C stops it.`);
  const interrupted = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => interrupted.resolve());
  await interrupted.promise;
  await server.stop();
  await server[Symbol.asyncDispose]();
}

if (import.meta.main) await main();
