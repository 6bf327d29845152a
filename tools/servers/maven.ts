import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const fetchMsMax = 10 * 60_000;

/** Java libraries that a project file names, kept outside the tree once they were fetched. */
export interface JavaLibraries {
  /** The folder's name in the cache; another one for each change of the project file. */
  readonly name: string;
  /** The text of a Maven project file. */
  readonly pom: string;
}

/** Why these libraries cannot be run on this machine; undefined: they can. */
export async function javaIsMissing({ name }: JavaLibraries): Promise<string | undefined> {
  if (!(await succeeds("javac", "-version"))) {
    return "Java 17 is missing (Debian: apt-get install openjdk-17-jdk-headless)";
  }
  const isCached = await exists(join(cacheOf(name), "lib"));
  if (!isCached && !(await succeeds("mvn", "--version"))) {
    return `Maven is missing, which fetches ${name} (Debian: apt-get install maven)`;
  }
  return undefined;
}

/** The folder with the libraries' jars. Safe when several ask at a time: the last one's is kept. */
export async function fetchJavaLibraries(libraries: JavaLibraries): Promise<string> {
  const missing = await javaIsMissing(libraries);
  if (missing !== undefined) throw new Error(missing);
  const cache = cacheOf(libraries.name);
  const folder = join(cache, "lib");
  if (await exists(folder)) return folder;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, "fetch-"));
  try {
    await writeFile(join(work, "pom.xml"), libraries.pom);
    const goal = "dependency:copy-dependencies";
    const args = ["-q", "-B", goal, "-DincludeScope=runtime", "-DoutputDirectory=lib"];
    await run("mvn", args, { cwd: work, timeout: fetchMsMax });
    await rename(join(work, "lib"), folder).catch(async (error: unknown) => {
      if (!(await exists(folder))) throw error; // else another process was quicker
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return folder;
}

function cacheOf(name: string): string {
  return join(homedir(), ".cache/dure", name);
}

async function succeeds(program: string, argument: string): Promise<boolean> {
  return run(program, [argument]).then(
    () => true,
    () => false,
  );
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
