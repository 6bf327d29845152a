import { spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { chown, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DureError } from "../core/errors.ts";
import type { PostgresBinaries } from "./binaries.ts";
import { isReachable, type RunUser } from "./run-user.ts";

/** A folder with an initialised cluster, and how the programs have to be told its name. */
export interface Cluster {
  readonly dataDir: string;
  /** What to pass as `-D` to a program whose working directory is the data directory. */
  readonly dataDirArgument: string;
  readonly password: string;
}

/** What the steps on a cluster have in common. */
export interface ClusterOptions {
  readonly dataDir: string;
  readonly binaries: PostgresBinaries;
  readonly user: RunUser;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes sure the data directory holds a cluster of this major version, and keeps one that is there.
 * A new one is made in a folder of its own and renamed when complete, so a process that dies in the
 * middle leaves no half cluster: the next start removes the rest and begins again.
 *
 * @throws DureError EMBEDDED_POSTGRES_FAILED
 */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const { dataDir, binaries } = options;
  await removeUnfinished(dataDir);
  const dataDirArgument = await nameForProgram(options);
  const version = await readFile(join(dataDir, "PG_VERSION"), "utf8").catch(() => undefined);
  if (version === undefined) {
    await refuseForeignFiles(dataDir);
    return { dataDir, dataDirArgument, password: await initialise(options, dataDirArgument) };
  }
  if (version.trim() !== binaries.majorVersion) {
    throw new DureError(
      "EMBEDDED_POSTGRES_FAILED",
      `The data directory ${dataDir} was made by PostgreSQL ${version.trim()} and this one is ` +
        `${binaries.majorVersion}: dump it with the old version and restore, or choose another one.`,
    );
  }
  const cluster = { dataDir, dataDirArgument };
  const kept = await readFile(`${dataDir}.password`, "utf8").catch(() => "");
  if (kept.trim() !== "") return { ...cluster, password: kept.trim() };
  const password = await writePassword(dataDir);
  await resetPassword(options, dataDirArgument, password);
  return { ...cluster, password };
}

/**
 * PostgreSQL runs as an account that may be unable to walk to the folder (below /root, mode 0700).
 * On Linux it need not walk: it starts with the folder as its working directory and calls it by
 * that, since `/proc/self/cwd` leads there without a look at the folders above.
 */
async function nameForProgram({ dataDir, user }: ClusterOptions): Promise<string> {
  if (await isReachable(dirname(dataDir), user)) return dataDir;
  if (process.platform === "linux") return "/proc/self/cwd";
  throw new DureError(
    "EMBEDDED_POSTGRES_FAILED",
    `PostgreSQL cannot run as root, and uid ${user.uid} cannot enter ${dirname(dataDir)}: start as ` +
      "an ordinary user, or choose a data directory below a folder that everybody may enter.",
  );
}

async function initialise(options: ClusterOptions, dataDirArgument: string): Promise<string> {
  const { dataDir, binaries, user } = options;
  const work = `${dataDir}.initdb-${randomUUID()}`;
  const unfinished = join(work, "data");
  const password = await writePassword(dataDir);
  await mkdir(unfinished, { recursive: true, mode: 0o700 });
  await writeFile(join(work, "password"), password, { mode: 0o600 });
  if (user.uid !== undefined && user.gid !== undefined) {
    for (const path of [work, unfinished, join(work, "password")]) {
      await chown(path, user.uid, user.gid);
    }
  }
  const dataDirOfInitdb = dataDirArgument === dataDir ? unfinished : dataDirArgument;
  try {
    const { code, output } = await runProgram(
      binaries.initdb,
      { ...options, workDir: unfinished },
      ["-D", dataDirOfInitdb, ...initdbArguments],
    );
    if (code !== 0) {
      throw new DureError("EMBEDDED_POSTGRES_FAILED", `initdb of ${dataDir} failed:\n${output}`);
    }
    await rename(unfinished, dataDir);
  } finally {
    await rm(work, { recursive: true, force: true, maxRetries: 5 });
  }
  return password;
}

const initdbArguments = [
  "--pwfile=../password",
  "--username=postgres",
  "--auth=scram-sha-256",
  "--encoding=UTF8",
  "--locale=C",
  "--locale-provider=builtin",
  "--builtin-locale=C.UTF-8",
  "--no-instructions",
  "--no-sync", // saves half a second; the server's own durability is not touched by it
] as const;

/** Gives an existing cluster a new superuser password without a server, after its file was lost. */
async function resetPassword(options: ClusterOptions, dataDirArgument: string, password: string) {
  const { binaries, dataDir } = options;
  const { code, output } = await runProgram(
    binaries.postgres,
    { ...options, workDir: dataDir, input: `alter role postgres password '${password}'\n` },
    ["--single", "-D", dataDirArgument, "postgres"],
  );
  if (code === 0) return;
  throw new DureError(
    "EMBEDDED_POSTGRES_FAILED",
    `${dataDir}.password is missing and a new password could not be set:\n${output}`,
  );
}

async function runProgram(
  program: string,
  { workDir, input, signal, user }: ClusterOptions & { workDir: string; input?: string },
  args: readonly string[],
): Promise<{ code: number | null; output: string }> {
  const child = spawn(program, args, {
    ...user,
    cwd: workDir,
    env: programEnvironment(),
    signal,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  const collect = (chunk: Buffer) => {
    output = (output + chunk.toString("utf8")).slice(-4000);
  };
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  child.stdin.on("error", () => {}); // the program may end before it has read; its exit code decides
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  return { code, output };
}

/** Nothing of the caller's PG* variables, and messages and times in one form everywhere. */
export function programEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
}

async function writePassword(dataDir: string): Promise<string> {
  const password = randomBytes(24).toString("base64url");
  const draft = `${dataDir}.password.${randomUUID()}`;
  await writeFile(draft, `${password}\n`, { mode: 0o600, flush: true });
  await rename(draft, `${dataDir}.password`);
  return password;
}

async function removeUnfinished(dataDir: string): Promise<void> {
  const prefix = `${basename(dataDir)}.initdb-`;
  for (const name of await readdir(dirname(dataDir))) {
    if (!name.startsWith(prefix)) continue;
    await rm(join(dirname(dataDir), name), { recursive: true, force: true, maxRetries: 5 });
  }
}

async function refuseForeignFiles(dataDir: string): Promise<void> {
  const names = await readdir(dataDir).catch(() => []);
  if (names.length === 0) return;
  throw new DureError(
    "EMBEDDED_POSTGRES_FAILED",
    `The data directory ${dataDir} holds other files (${names.slice(0, 3).join(", ")}) and no ` +
      "PostgreSQL cluster: empty it, or choose another one.",
  );
}
