/**
 * The shape of the repository: who may import whom, how long a file may be, which words are banned.
 * Every rule carries examples it must refuse and examples it must accept, so a rule that has gone
 * blind fails here before it lets anything pass.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root: string = fileURLToPath(new URL("../../../", import.meta.url));
const src = "packages/dure/src/";

const capabilities = "outbox inbox saga idempotency lock semaphore participant isolation".split(
  " ",
);
const face: readonly string[] = ["core", ...capabilities];
const ports: readonly string[] = [...face, "admin", "service"];

/** Who may import whom, by folder (or file) directly under src/. Anything not listed is forbidden. */
const allowed: Record<string, readonly string[] | "anything"> = {
  core: [],
  ...Object.fromEntries(capabilities.map((folder) => [folder, ["core"]])),
  saga: ["core", "outbox", "inbox"],
  transaction: ["core"],
  admin: face,
  http: face,
  notify: face,
  opentelemetry: face,
  service: [...face, "admin"],
  memory: ports,
  postgres: ports,
  kafka: ports,
  redis: ports,
  resilience: ["core"],
  temporal: ports,
  embedded: ports,
  testing: [...face, "memory"],
  explorer: [...face, "testing", "postgres", "embedded"],
  "index.ts": [...face, "service"],
  cli: "anything",
};

/** Folders that may import npm packages; all others know no package but the library itself. */
const npmAllowed: ReadonlySet<string> = new Set(
  "postgres kafka redis resilience temporal embedded explorer opentelemetry cli".split(" "),
);

/** The core and the capabilities do no I/O, so these are the only builtins they may have. */
const pureBuiltins: ReadonlySet<string> = new Set(
  "assert async_hooks crypto diagnostics_channel events timers timers/promises util"
    .split(" ")
    .map((name) => `node:${name}`),
);

/** In the shop a service knows the message types and the chassis, and no other service. */
const shopShared: Record<string, readonly string[]> = { contracts: [], chassis: ["contracts"] };
const shopUnbounded: ReadonlySet<string> = new Set(["runtime", "replay", "test"]);

const junkDrawers: ReadonlySet<string> = new Set(
  "utils helpers common types interfaces".split(" "),
);

interface Import {
  readonly specifier: string;
  readonly line: number;
}

interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** The text with comments and the contents of literals blanked; every offset is unchanged. */
  readonly bare: string;
  /** Only the contents of string literals, each between two NUL characters. */
  readonly literals: string;
  readonly imports: readonly Import[];
  readonly isTest: boolean;
  readonly isConfig: boolean;
}

type Tree = ReadonlyMap<string, SourceFile>;
type Texts = Readonly<Record<string, string>>;

interface Rule {
  readonly name: string;
  readonly check: (tree: Tree) => readonly string[];
  readonly refuses: readonly Texts[];
  readonly accepts: readonly Texts[];
}

const rules: readonly Rule[] = [
  {
    name: "a folder of the library imports only what the table lists",
    check: eachCode((file) => (isLibrary(file) ? file.imports.flatMap(libraryImport(file)) : [])),
    refuses: [
      { [`${src}core/a.ts`]: `import { b } from "../outbox/b.ts";` },
      { [`${src}outbox/a.ts`]: `import type { B } from "../postgres/b.ts";` },
      { [`${src}postgres/a.ts`]: `export { b } from "../kafka/b.ts";` },
      { [`${src}saga/a.ts`]: `type B = import("../lock/b.ts").B;` },
      { [`${src}index.ts`]: `export {\n  b,\n} from "./postgres/index.ts";` },
      { [`${src}inbox/a.ts`]: `const b = await import("../testing/b.ts");` },
      { [`${src}service/a.ts`]: `import { b } from "../postgres/b.ts";` },
      { [`${src}novel/a.ts`]: `import { b } from "../core/b.ts";` },
      { [`${src}cli/a.ts`]: `import { b } from "../../test/b.ts";` },
      { [`${src}outbox/a.ts`]: `import { z } from "zod";` },
      { [`${src}postgres/a.ts`]: `import { b } from "dure";` },
      { [`${src}core/a.ts`]: `import { readFileSync } from "node:fs";` },
      { [`${src}core/a.ts`]: `import { readFileSync } from "fs";` },
    ],
    accepts: [
      { [`${src}postgres/a.ts`]: `import { b } from "../admin/b.ts"; import pg from "pg";` },
      { [`${src}postgres/a.ts`]: `import { readFile } from "node:fs/promises";` },
      { [`${src}core/a.ts`]: `import { b } from "./b.ts"; import { c } from "node:crypto";` },
      { [`${src}outbox/a.ts`]: `/** import { b } from "../kafka/b.ts"; */ Array.from("abc");` },
      {
        [`${src}index.ts`]: `export { a } from "./service/dure.ts"; export { b } from "./core/b.ts";`,
      },
      { [`${src}outbox/a.test.ts`]: `import { b } from "../memory/b.ts"; import "vitest";` },
    ],
  },
  {
    name: "apps, examples and docs see only the published face of dure",
    check: eachCode((file) => (isGuest(file.path) ? file.imports.flatMap(guestImport(file)) : [])),
    refuses: [
      { "apps/shop/order/a.ts": `import { b } from "dure/not-a-subpath";` },
      { "apps/shop/order/a.ts": `import { b } from "dure/src/core/b.ts";` },
      { "apps/shop/order/a.ts": `import { b } from "../../../packages/dure/src/core/b.ts";` },
      { "examples/outbox/main.ts": `import { b } from "../../apps/shop/contracts/b.ts";` },
      { "examples/outbox/main.ts": `import { b } from "shop/contracts/b.ts";` },
      { "packages/console/server/a.ts": `import { b } from "../../dure/src/index.ts";` },
      { "apps/shop/a.ts": `import { b } from "../../tools/servers/b.ts";` },
    ],
    accepts: [
      { "apps/shop/order/a.test.ts": `import { b } from "../../../tools/servers/b.ts";` },
      { "apps/shop/order/a.ts": `import { b } from "dure"; import pg from "pg";` },
      { "tools/check.ts": `import { b } from "../packages/dure/src/core/b.ts";` },
    ],
  },
  {
    name: "a service of the shop imports no other service",
    check: eachCode((file) => file.imports.flatMap(shopImport(file))),
    refuses: [
      { "apps/shop/order/a.ts": `import type { B } from "../payment/b.ts";` },
      { "apps/shop/contracts/a.ts": `import type { B } from "../order/b.ts";` },
      { "apps/shop/chassis/a.ts": `import type { B } from "../order/b.ts";` },
      { "apps/shop/order/a.ts": `import type { B } from "../runtime/b.ts";` },
      { "apps/shop/order/a.test.ts": `import type { B } from "../payment/b.ts";` },
    ],
    accepts: [
      { "apps/shop/order/a.ts": `import "../contracts/b.ts"; import "../chassis/b.ts";` },
      { "apps/shop/runtime/a.ts": `import "../order/main.ts"; import "../payment/main.ts";` },
      { "apps/shop/replay/a.ts": `import "../order/main.ts";` },
      { "apps/shop/start.ts": `import "./order/main.ts";` },
    ],
  },
  {
    name: "no imports form a cycle, types included",
    check: findCycles,
    refuses: [
      {
        [`${src}core/a.ts`]: `import { b } from "./b.ts";`,
        [`${src}core/b.ts`]: `import type { C } from "./c.ts";`,
        [`${src}core/c.ts`]: `export type { A } from "./a.ts";`,
      },
      { [`${src}core/a.ts`]: `import type { A } from "./a.ts";` },
    ],
    accepts: [
      {
        [`${src}core/a.ts`]: `import "./b.ts"; import "./c.ts";`,
        [`${src}core/b.ts`]: `import "./c.ts";`,
        [`${src}core/c.ts`]: "",
      },
    ],
  },
  {
    name: "a file has at most 400 lines, a test 600",
    check: eachCode((file) => {
      const lineCount = file.text.replace(/\n$/, "").split("\n").length;
      const lineCountMax = file.isTest ? 600 : 400;
      return lineCount > lineCountMax
        ? [`${file.path}: ${lineCount} lines, ${lineCountMax} at most`]
        : [];
    }),
    refuses: [
      { [`${src}core/a.ts`]: "\n".repeat(401) },
      { [`${src}core/a.test.ts`]: "\n".repeat(601) },
    ],
    accepts: [
      { [`${src}core/a.ts`]: "\n".repeat(400) },
      { [`${src}core/a.test.ts`]: "\n".repeat(600) },
    ],
  },
  {
    name: "time and randomness come from the clock",
    check: banned(
      "bare",
      /\bDate\.now\b|\bnew Date(?:\s*\(\s*\)|(?!\s*\()\b)|\bMath\.random\b/g,
      (file) =>
        /^(?:packages|apps)\//.test(file.path) &&
        file.path !== `${src}core/clock.ts` &&
        !file.path.startsWith("apps/shop/chassis/"),
    ),
    refuses: [
      { [`${src}outbox/a.ts`]: "const at = Date.now();" },
      { [`${src}outbox/a.ts`]: "const clock = { now: Date.now };" },
      { [`${src}outbox/a.ts`]: "const id = `${`${Math.random()}`}`;" },
      { "apps/shop/order/a.ts": "const at = new Date();" },
    ],
    accepts: [
      { [`${src}core/clock.ts`]: "const at = Date.now();" },
      { "apps/shop/chassis/clock.ts": "const at = new Date();" },
      {
        [`${src}outbox/a.ts`]: `// Date.now() is banned\nconst at = new Date(0); const b = "Date.now()";`,
      },
    ],
  },
  {
    name: "a test never sleeps",
    check: banned("bare", /\bset(?:Timeout|Interval)\b/g, (file) => file.path.endsWith(".test.ts")),
    refuses: [
      { "a.test.ts": "await new Promise((resolve) => setTimeout(resolve, 10));" },
      { "a.test.ts": `import { setTimeout as sleep } from "node:timers/promises";` },
      { "a.test.ts": "setInterval(() => 1, 10);" },
    ],
    accepts: [{ "a.ts": "setTimeout(stop, leaseMs);" }],
  },
  {
    name: "no test is left out, and none leaves the others out",
    check: banned(
      "bare",
      /(?<!\bsagas)\.(?:only|skip)\s*\(|\b(?:test|it|describe|suite)(?:\.\w+)*\.(?:only|skip|todo)\b/g,
      (file) => file.isTest,
    ),
    refuses: [
      { "packages/dure/test/support/a.ts": "context.skip();" },
      { "a.test.ts": "it.only('a', () => {});" },
      { "a.test.ts": "describe.skip('a', () => {});" },
      { "a.test.ts": "test.todo('a');" },
      { "a.test.ts": "it.skip.each([1])('a', () => {});" },
    ],
    accepts: [{ "a.test.ts": "it('a', () => sagas.skip('S-1', 'ship', by));" }],
  },
  {
    name: "work left over is an issue with a number, not a note in the code",
    // The words are cut in two because this file is searched as well.
    check: banned("text", /\bFIX(?:)ME\b|\bTO(?:)DO\b(?!\s*\(?#\d+)/g, () => true),
    refuses: [
      { "a.ts": `// ${"FIX"}ME later` },
      { "a.ts": `// ${"TO"}DO later` },
      { "packages/dure/sql/0001_a.sql": `-- ${"TO"}DO(me): index` },
    ],
    accepts: [{ "a.ts": `// ${"TO"}DO(#12) until Postgres 19` }],
  },
  {
    name: "nothing is promised to happen once and only once",
    check: eachText((file) =>
      [...file.text.matchAll(/exactly(?:-|\s(?:[\s*/#>-]*))once/gi)].flatMap((match) => {
        const sentence = file.text.slice(Math.max(0, match.index - 120), match.index + 60);
        const isDenied = /\b(?:never|not?|nobody|none|nothing|cannot|impossible)\b|n't\b/i.test(
          sentence,
        );
        return isDenied ? [] : [`${at(file, match.index)} claims "${match[0]}"`];
      }),
    ),
    refuses: [
      { "docs/concepts/guarantees.md": `Messages are delivered exactly ${"once"}.` },
      { [`${src}outbox/a.ts`]: `/** Promises exactly-${"once"} delivery. */` },
      { [`${src}outbox/a.ts`]: `/**\n * Runs exactly\n * ${"once"}.\n */` },
    ],
    accepts: [{ "docs/concepts/guarantees.md": `Never "exactly ${"once"}" for anything.` }],
  },
  {
    name: "a module lists what it exports",
    check: banned("bare", /\bexport\s*\*/g, () => true),
    refuses: [{ "a.ts": `export * from "./b.ts";` }, { "a.ts": `export * as b from "./b.ts";` }],
    accepts: [{ "a.ts": `export { b } from "./b.ts"; // export * is banned` }],
  },
  {
    name: "only a configuration file exports a default",
    check: banned("bare", /\bexport\s+default\b|\bas\s+default\b/g, (file) => !file.isConfig),
    refuses: [{ "a.ts": "export default 1;" }, { "a.ts": "export { a as default };" }],
    accepts: [{ "vitest.config.ts": "export default {};" }],
  },
  {
    name: "file and folder names are kebab-case",
    check: eachCode(({ path }) =>
      path.split("/").every((name) => /^\.?[a-z0-9]+(?:[-.][a-z0-9]+)*$/.test(name))
        ? []
        : [`${path}: not kebab-case`],
    ),
    refuses: [
      { [`${src}outbox/outboxStore.ts`]: "" },
      { [`${src}outbox/outbox_store.ts`]: "" },
      { [`${src}outBox/a.ts`]: "" },
    ],
    accepts: [{ [`${src}postgres/outbox-sql.test-d.ts`]: "" }],
  },
  {
    name: "there are no junk drawers",
    check: eachCode(({ path }) =>
      path.split("/").some((name) => junkDrawers.has(name.replace(/\..*$/, "")))
        ? [`${path}: name the concept instead`]
        : [],
    ),
    refuses: [...junkDrawers].flatMap((name) => [
      { [`${src}outbox/${name}/a.ts`]: "" },
      { [`apps/shop/order/${name}.ts`]: "" },
    ]),
    accepts: [{ [`${src}outbox/message-types.ts`]: "" }],
  },
  {
    name: "SQL lives in postgres/*-sql.ts",
    check: banned(
      "literals",
      /\binsert\s+into\b|\bdelete\s+from\b|\bupdate\s[^\0]{1,80}?\sset\b|\bselect\s[^\0]{0,600}?\bfrom\s/gi,
      (file) =>
        isLibrary(file) &&
        !/^(?:postgres\/(?:[^/]+-sql|migrate)\.ts$|(?:cli|embedded)\/)/.test(
          file.path.slice(src.length),
        ),
    ),
    refuses: [
      {
        [`${src}postgres/outbox-store.ts`]:
          'pool.query("insert into outbox_message (id) values ($1)");',
      },
      { [`${src}admin/a.ts`]: "query(`select\n  id\nfrom ${schema}.lease`);" },
      { [`${src}admin/a.ts`]: "query(`select ${columns} from lease`);" },
      { [`${src}outbox/a.ts`]: "query('update lease set fence = 1');" },
      { [`${src}outbox/a.ts`]: "query('DELETE FROM lease');" },
    ],
    accepts: [
      {
        [`${src}postgres/outbox-sql.ts`]:
          "export const claim: string = `select id from outbox_message`;",
      },
      { [`${src}postgres/migrate.ts`]: "query('insert into migration (id) values ($1)');" },
      { [`${src}outbox/a.ts`]: `/** like select id from x */ log("select"); log("from here");` },
      { [`${src}postgres/a.test.ts`]: "query('select id from outbox_message');" },
    ],
  },
];

describe("the rules see", () => {
  for (const rule of rules) {
    it.each(rule.refuses)(`${rule.name}: refuses %j`, (texts) => {
      expect(rule.check(treeOf(texts))).not.toEqual([]);
    });
    it.each(rule.accepts)(`${rule.name}: accepts %j`, (texts) => {
      expect(rule.check(treeOf(texts))).toEqual([]);
    });
  }
});

describe("the repository", () => {
  const tree = treeOf(readRepository());

  it("is read: this very file and its imports are seen", () => {
    const self = tree.get("packages/dure/test/architecture.test.ts");
    expect(self?.imports.map((each) => each.specifier)).toEqual([
      "node:fs",
      "node:path",
      "node:url",
      "vitest",
    ]);
  });

  it.each(rules)("$name", (rule) => {
    expect(rule.check(tree)).toEqual([]);
  });

  it("has every folder of the library in the import table", () => {
    const folders = [...tree.values()].filter(isLibrary).map((file) => folderOf(file.path));
    expect([...new Set(folders)].filter((folder) => !Object.hasOwn(allowed, folder))).toEqual([]);
  });
});

describe("docs/reference/errors.md", () => {
  it("has one row for every error code, and no row for a code that is gone", async () => {
    const module = (await import(join(root, src, "core/errors.ts"))) as {
      errorCodes: readonly string[];
    };
    const page = readFileSync(join(root, "docs/reference/errors.md"), "utf8");
    const rows = [...page.matchAll(/^\|\s*(?:<a [^>]*><\/a>\s*)?`([A-Z][A-Z0-9_]*)`/gm)].map(
      ([, code]) => code,
    );
    expect(new Set(rows)).toEqual(new Set(module.errorCodes));
  });
});

function libraryImport(file: SourceFile): (imported: Import) => string[] {
  return ({ specifier, line }) => {
    const from = folderOf(file.path);
    const refuse = (what: string): string[] => [
      `${file.path}:${line} ${from} may not import ${what}`,
    ];
    const list = allowed[from];
    if (list === undefined) return refuse(`anything: ${from} is not in the table`);
    if (specifier.startsWith("node:")) {
      const isPure = from === "core" || capabilities.some((name) => name === from);
      return isPure && !pureBuiltins.has(specifier) ? refuse(specifier) : [];
    }
    if (!specifier.startsWith(".")) {
      const isSelf = specifier === "dure" || specifier.startsWith("dure/");
      return npmAllowed.has(from) && !isSelf ? [] : refuse(`npm:${specifier}`);
    }
    const target = resolve(file, specifier);
    if (!target.startsWith(src)) return refuse(target);
    const to = folderOf(target);
    return to === from || list === "anything" || list.includes(to) ? [] : refuse(to);
  };
}

function guestImport(file: SourceFile): (imported: Import) => string[] {
  const workspace = workspaceOf(file.path);
  return ({ specifier, line }) => {
    const refuse = [`${file.path}:${line} may not import ${specifier}`];
    const target = resolve(file, specifier);
    if (isServer(file, target)) return [];
    if (specifier.startsWith(".")) return target.startsWith(workspace) ? [] : refuse;
    const name = specifier.split("/")[0] ?? "";
    if (["shop", "examples", "dure-repository"].includes(name)) return refuse;
    return name === "dure" && !readSubpaths().has(specifier) ? refuse : [];
  };
}

/** Guests' tests need real brokers as ours do; a second way to start them would be worse than this exception. */
const isServer = (file: SourceFile, to: string) => file.isTest && to.startsWith("tools/servers/");

function shopImport(file: SourceFile): (imported: Import) => string[] {
  const [from, ...inside] = file.path.slice("apps/shop/".length).split("/");
  return ({ specifier, line }) => {
    const isBounded = file.path.startsWith("apps/shop/") && inside.length > 0;
    if (!isBounded || !specifier.startsWith(".") || shopUnbounded.has(from ?? "")) return [];
    const target = resolve(file, specifier);
    const to = target.slice("apps/shop/".length).split("/")[0] ?? "";
    const list = shopShared[from ?? ""] ?? Object.keys(shopShared);
    return to === from || list.includes(to) || isServer(file, target)
      ? []
      : [`${file.path}:${line} ${from} may not import ${to}`];
  };
}

function findCycles(tree: Tree): string[] {
  const cycles = new Set<string>();
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) cycles.add([...trail.slice(trail.indexOf(path)), path].join(" -> "));
    const file = tree.get(path);
    if (done.has(path) || file === undefined) return;
    done.add(path);
    for (const { specifier } of file.imports) {
      if (specifier.startsWith(".")) visit(resolve(file, specifier), [...trail, path]);
    }
  };
  for (const path of tree.keys()) visit(path, []);
  return [...cycles];
}

function banned(
  view: "text" | "bare" | "literals",
  pattern: RegExp,
  applies: (file: SourceFile) => boolean,
): Rule["check"] {
  return eachText((file) =>
    file.path.endsWith(".md") || !applies(file)
      ? []
      : [...file[view].matchAll(pattern)].map((match) => `${at(file, match.index)} ${match[0]}`),
  );
}

function eachText(check: (file: SourceFile) => readonly string[]): Rule["check"] {
  return (tree) => [...tree.values()].flatMap(check);
}

function eachCode(check: (file: SourceFile) => readonly string[]): Rule["check"] {
  return eachText((file) => (/\.tsx?$/.test(file.path) ? check(file) : []));
}

function isLibrary(file: SourceFile): boolean {
  return file.path.startsWith(src) && !file.isTest;
}

function isGuest(path: string): boolean {
  return /^(?:apps|examples|docs)\//.test(path) || /^packages\/(?!dure\/)/.test(path);
}

function workspaceOf(path: string): string {
  const [first, second] = path.split("/");
  return first === "apps" || first === "packages" ? `${first}/${second}/` : `${first}/`;
}

function folderOf(path: string): string {
  return path.slice(src.length).split("/")[0] ?? "";
}

function resolve(file: SourceFile, specifier: string): string {
  return posix.join(posix.dirname(file.path), specifier);
}

function at(file: SourceFile, offset: number): string {
  return `${file.path}:${lineAt(file.text, offset)}`;
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

let subpaths: ReadonlySet<string> | undefined;

function readSubpaths(): ReadonlySet<string> {
  const manifest = JSON.parse(readFileSync(join(root, "packages/dure/package.json"), "utf8")) as {
    exports: Record<string, unknown>;
  };
  subpaths ??= new Set(Object.keys(manifest.exports).map((key) => posix.join("dure", key)));
  return subpaths;
}

function treeOf(texts: Texts): Tree {
  return new Map(Object.entries(texts).map(([path, text]) => [path, parse(path, text)]));
}

function parse(path: string, text: string): SourceFile {
  const { bare, literals } = /\.tsx?$/.test(path) ? separate(text) : { bare: "", literals: "" };
  const imports = [...bare.matchAll(/\bfrom\s*(["'])|\bimport\s*\(?\s*(["'`])/g)].map((match) => {
    const start = match.index + match[0].length;
    const end = bare.indexOf(match[1] ?? match[2] ?? "", start);
    return { specifier: text.slice(start, end), line: lineAt(text, start) };
  });
  const isTest = /\.test(?:-d)?\.tsx?$/.test(path) || /^packages\/[^/]+\/test\//.test(path);
  return {
    path,
    text,
    bare,
    literals,
    imports,
    isTest,
    isConfig: basename(path).includes(".config."),
  };
}

// In this order: comment, string, regular expression (only where a division cannot stand), template.
const token =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(?<=(?:[=(,:;!&|?{}[]|\breturn)\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/|[`{}]/g;
const templateChunk = /(?:\\[\s\S]|(?!\$\{)[^`\\])*/y;

/** Tells code from literals without a parser: TypeScript 7 has no API to ask yet (ADR 0007). */
function separate(text: string): { bare: string; literals: string } {
  const bare = text.split("");
  const literals = text.replace(/[^\n]/g, " ").split("");
  const open: ("block" | "template")[] = [];
  const move = (start: number, end: number, isLiteral: boolean): void => {
    for (let index = start; index < end; index += 1) {
      if (isLiteral) literals[index] = text.charAt(index);
      if (text[index] !== "\n") bare[index] = " ";
    }
  };
  let position = 0;
  for (;;) {
    token.lastIndex = position;
    const match = token.exec(text);
    if (match === null) return { bare: bare.join(""), literals: literals.join("") };
    const [found] = match;
    const start = match.index;
    position = start + found.length;
    const isTemplate = found === "`" || (found === "}" && open.at(-1) === "template");
    if (found === "}") open.pop();
    if (found === "{") open.push("block");
    if (found === "`") literals[start] = "\0";
    if (isTemplate) {
      templateChunk.lastIndex = position;
      position += templateChunk.exec(text)?.[0].length ?? 0;
      move(start + 1, position, true);
      if (text[position] === "$") open.push("template");
      else literals[position] = "\0";
      position += text[position] === "$" ? 2 : 1;
    } else if (found.startsWith('"') || found.startsWith("'")) {
      move(start + 1, position - 1, true);
      literals[start] = literals[position - 1] = "\0";
    } else if (found.startsWith("/")) {
      move(start, position, false);
    }
  }
}

function readRepository(): Texts {
  const texts: Record<string, string> = {};
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = posix.join(folder, entry.name);
      if (entry.isDirectory()) {
        if (!/^(?:node_modules|dist|coverage|\..*)$/.test(entry.name)) walk(path);
      } else if (/\.(?:tsx?|sql|lua|md)$/.test(entry.name)) {
        texts[path] = readFileSync(join(root, path), "utf8");
      }
    }
  };
  walk("");
  return texts;
}
