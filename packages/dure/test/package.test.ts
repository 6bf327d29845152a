/**
 * What a stranger gets: the library is built, packed and installed in an empty folder, then used
 * there. Nothing here sees the sources. When the public names change on purpose, run it once with
 * UPDATE_EXPORTED_NAMES=1 and read the difference.
 */
import { execFile } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

interface Manifest {
  readonly version: string;
  readonly exports: Readonly<Record<string, string | { readonly types: string }>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

type ExportedNames = Readonly<Record<string, { values: string[]; types: string[] }>>;

const root: string = fileURLToPath(new URL("../../../", import.meta.url));
const source: string = join(root, "packages/dure");
const binaries: string = join(root, "node_modules/.bin");
const namesPath: string = join(source, "test/exported-names.json");
const manifest = JSON.parse(readFileSync(join(source, "package.json"), "utf8")) as Manifest;
const codeSubpaths: readonly string[] = Object.entries(manifest.exports).flatMap(([key, target]) =>
  typeof target === "object" ? [posix.join("dure", key)] : [],
);
const timeoutMs = 180_000;

let work = "";
let tarball = "";
let packed: readonly string[] = [];
let stranger = "";

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "dure-package-"));
  await run("npm", ["run", "build"], source);
  const report = await run(
    "npm",
    ["pack", "--json", "--ignore-scripts", "--pack-destination", work],
    source,
  );
  packed = [...report.matchAll(/"path": "([^"]+)"/g)].map(([, path]) => path ?? "");
  tarball = join(work, `dure-${manifest.version}.tgz`);
  stranger = await install("stranger");
}, timeoutMs);

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

describe("the tarball", () => {
  it("holds the build, the sources and the migrations, and no test", () => {
    for (const path of ["package.json", "dist/index.js", "dist/index.d.ts", "src/index.ts"]) {
      expect(packed).toContain(path);
    }
    const migrations = readdirSync(join(source, "sql")).map((name) => `sql/${name}`);
    expect(migrations).not.toEqual([]);
    expect(packed).toEqual(expect.arrayContaining(migrations));
    expect(packed.filter((path) => /\.test(?:-d)?\.|(?:^|\/)test\//.test(path))).toEqual([]);
    expect(packed.filter((path) => !/^(?:dist|src|sql)\/|^[^/]+$/.test(path))).toEqual([]);
  });

  it("is what publint expects of a package", async () => {
    const file = readFileSync(tarball);
    const { messages, pkg } = await publint({
      pack: { tarball: Uint8Array.from(file).buffer },
      level: "warning",
      strict: true,
    });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  it("brings its own dependencies and none of its peers", () => {
    const installed = readdirSync(join(stranger, "node_modules")).filter(
      (name) => !name.startsWith("."),
    );
    expect(installed.toSorted((a, b) => a.localeCompare(b))).toEqual(
      [...Object.keys(manifest.dependencies), "dure"].toSorted((a, b) => a.localeCompare(b)),
    );
  });

  it("refuses what is not a declared subpath", async () => {
    await expect(node(stranger, 'await import("dure/dist/index.js");')).rejects.toThrow(
      "ERR_PACKAGE_PATH_NOT_EXPORTED",
    );
  });

  it("can be asked for help", { timeout: timeoutMs }, async () => {
    expect(await run("npx", ["--no", "--", "dure", "--help"], stranger)).toMatch(/^Usage: dure\b/m);
  });
});

describe("without peers installed", () => {
  it.each(codeSubpaths)("%s can be imported", async (subpath) => {
    expect(await valuesOf(subpath)).not.toEqual([]);
  });

  it(
    "every subpath type-checks, declarations of the library included",
    { timeout: timeoutMs },
    async () => {
      linkFromRepository(stranger, ["@types/node"]);
      const imports = codeSubpaths.map(
        (subpath, index) => `import * as s${index} from "${subpath}";`,
      );
      const uses = codeSubpaths.map((_, index) => `s${index}`).join(", ");
      writeFileSync(
        join(stranger, "all.ts"),
        `${imports.join("\n")}\nexport const all: readonly object[] = [${uses}];\n`,
      );
      await compile(stranger, "all.ts");
      // Proves that the compiler saw the declarations rather than a silent `any`.
      writeFileSync(
        join(stranger, "wrong.ts"),
        `import { notExported } from "dure";\nnotExported();\n`,
      );
      await expect(compile(stranger, "wrong.ts")).rejects.toThrow("TS2305");
    },
  );

  it("exports exactly the names in exported-names.json", async () => {
    const names: Record<string, { values: string[]; types: string[] }> = {};
    for (const subpath of codeSubpaths) {
      const values = await valuesOf(subpath);
      names[subpath] = { values, types: typesOf(subpath, values) };
    }
    if (process.env["UPDATE_EXPORTED_NAMES"] === "1") {
      writeFileSync(namesPath, `${JSON.stringify(names, null, 2)}\n`);
    }
    expect(names).toEqual(JSON.parse(readFileSync(namesPath, "utf8")) as ExportedNames);
  });
});

describe("the example in README.md", () => {
  it("compiles and prints what the README says it prints", { timeout: timeoutMs }, async () => {
    const readme = readFileSync(join(root, "README.md"), "utf8");
    const [, example, printed] = /^```ts\n(.*?)^```$.*?^```text\n(.*?)^```$/ms.exec(readme) ?? [];
    if (example === undefined || printed === undefined) {
      throw new Error("README.md needs a ```ts block and the ```text block that it prints");
    }
    const reader = await install("reader");
    linkFromRepository(reader, [...Object.keys(manifest.peerDependencies), "zod"]);
    linkFromRepository(reader, ["@types/node", "@types/pg"]);
    writeFileSync(join(reader, "example.ts"), example);
    await compile(reader, "example.ts");
    const output = await run(join(binaries, "node"), ["example.ts"], reader);
    expect(output.trimEnd()).toBe(printed.trimEnd());
  });
});

/** An empty project with the tarball installed in it, as `npm install dure` leaves it. */
async function install(name: string): Promise<string> {
  const folder = join(work, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "package.json"), `{ "private": true, "type": "module" }\n`);
  const options = ["--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"];
  await run("npm", ["install", ...options, tarball], folder);
  return folder;
}

function linkFromRepository(folder: string, packages: readonly string[]): void {
  for (const name of packages) {
    const link = join(folder, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, "node_modules", name), link);
  }
}

async function compile(folder: string, file: string): Promise<void> {
  const options = {
    target: "es2024",
    lib: ["es2024", "esnext.disposable"],
    module: "nodenext",
    types: ["node"],
    noEmit: true,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    allowImportingTsExtensions: true,
  };
  const project = { compilerOptions: options, files: [file] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
  await run(join(binaries, "tsc"), ["-p", "."], folder);
}

async function valuesOf(subpath: string): Promise<string[]> {
  const script = `console.log(JSON.stringify(Object.keys(await import("${subpath}"))));`;
  return sorted(JSON.parse(await node(stranger, script)) as string[]);
}

/** Reads the names off the declarations: a subpath's index lists its names and holds nothing else. */
function typesOf(subpath: string, values: readonly string[]): string[] {
  const target = manifest.exports[subpath.replace("dure", ".")];
  if (typeof target !== "object") throw new Error(`${subpath} has no declarations`);
  const text = readFileSync(join(stranger, "node_modules/dure", target.types), "utf8");
  const listed = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, list]) =>
    (list ?? "").split(",").map((entry) => entry.trim().replace(/^(?:type |.* as )+/, "")),
  );
  const declared = [
    ...text.matchAll(
      /^export (?:declare )?(?:abstract )?(?:const|let|function|class|interface|type) (\w+)/gm,
    ),
  ].map(([, name]) => name ?? "");
  const names = new Set([...listed, ...declared]);
  return sorted([...names].filter((name) => name !== "" && !values.includes(name)));
}

function sorted(names: readonly string[]): string[] {
  return names.toSorted((a, b) => (a < b ? -1 : 1));
}

async function node(folder: string, script: string): Promise<string> {
  return await run(join(binaries, "node"), ["--input-type=module", "--eval", script], folder);
}

/** Runs a program on the pinned Node and returns what it printed; its failure carries all it said. */
async function run(program: string, args: readonly string[], folder: string): Promise<string> {
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    PATH: `${binaries}:${process.env["PATH"] ?? ""}`,
  };
  for (const name of ["NODE_OPTIONS", "npm_config_local_prefix"]) delete environment[name];
  return await new Promise((done, fail) => {
    const options = { cwd: folder, env: environment, timeout: timeoutMs, maxBuffer: 1 << 26 };
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) done(stdout);
      else fail(new Error(`${program} ${args.join(" ")}\n${stdout}\n${stderr}`, { cause: error }));
    });
  });
}
