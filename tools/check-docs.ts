// Holds the documentation to the truth: links resolve, code compiles, examples print what they say.
import { execFile } from "node:child_process";
import {
  existsSync,
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

/** A page by its path from the root of the repository. */
export interface Page {
  readonly path: string;
  readonly text: string;
}

/** A fenced `ts` block; lines count from 0 and exclude the fences. */
interface Block {
  readonly start: number;
  readonly end: number;
}

/** The outcome of one example: what it printed and what its expected.txt says, both normalised. */
export interface ExampleOutcome {
  readonly printed: string;
  readonly expected: string;
}

const repository: string = fileURLToPath(new URL("..", import.meta.url));
const exampleTimeoutMs = 120_000;

/** Reads every Markdown page of the repository, installed packages and hidden folders aside. */
export function readPages(root: string = repository): readonly Page[] {
  const pages: Page[] = [];
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = posix.join(folder, entry.name);
      const isHidden = /^(?:node_modules|dist|coverage|\..*)$/.test(entry.name);
      if (entry.isDirectory() && !isHidden) walk(path);
      if (entry.isFile() && path.endsWith(".md")) {
        pages.push({ path, text: readFileSync(join(root, path), "utf8") });
      }
    }
  };
  walk("");
  return pages;
}

/** The pages whose `ts` blocks are promises to a reader: the READMEs of the packages, and docs/. */
export function hasPromises(page: Page): boolean {
  return /^(?:README\.md|packages\/[^/]+\/README\.md|docs\/.+\.md)$/.test(page.path);
}

/** Lists every relative link, with its heading if it names one, that leads nowhere. */
export function findBrokenLinks(
  pages: readonly Page[],
  root: string = repository,
): readonly string[] {
  return pages.flatMap((page) =>
    linksOf(page.text).flatMap(({ target, line }) => {
      if (/^[a-z][a-z0-9+.-]*:|^\/\//i.test(target)) return [];
      const [path = "", heading] = decodeURIComponent(target).split("#");
      const file = resolveLink(page.path, path);
      const broken = `${page.path}:${line} ${target}`;
      if (file.startsWith("..") || !existsSync(join(root, file))) return [broken];
      if (heading === undefined || !file.endsWith(".md")) return [];
      const text = file === page.path ? page.text : readFileSync(join(root, file), "utf8");
      return anchorsOf(text).has(heading) ? [] : [broken];
    }),
  );
}

/**
 * Compiles every `ts` block against the library's sources and lists what the compiler says, by page
 * and line. A block that begins with the comment `// continues` is compiled after the block above it.
 */
export async function compileBlocks(pages: readonly Page[]): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), "dure-docs-"));
  try {
    symlinkSync(join(repository, "node_modules"), join(folder, "node_modules"));
    const files = pages.flatMap((page) => writeBlocks(folder, page));
    if (files.length === 0) return [];
    writeFileSync(join(folder, "package.json"), `{ "type": "module" }\n`);
    const project = {
      extends: join(repository, "tsconfig.json"),
      compilerOptions: {
        moduleDetection: "force",
        declaration: false,
        isolatedDeclarations: false,
        noUnusedLocals: false,
        noUnusedParameters: false,
      },
      files,
      include: [],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
    const tsc = await run(join(repository, "node_modules/.bin/tsc"), ["-p", "."], folder);
    if (!tsc.isGreen && tsc.output === "") return [`tsc did not run: ${tsc.errors}`];
    // What the compiler says of the library's own sources is the business of `npm run check types`.
    return tsc.output
      .split("\n")
      .filter((line) => /\.md-\d+\.ts\(|^error /.test(line))
      .map((line) => line.replace(/\.md-\d+\.ts\(/, ".md("));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The folders of examples/ that hold a program. */
export function findExamples(root: string = repository): readonly string[] {
  const folder = join(root, "examples");
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => existsSync(join(folder, name, "main.ts")))
    .map((name) => join(folder, name));
}

/** Runs one example in an empty folder, as a reader does the first time. Fails when it fails. */
export async function runExample(example: string): Promise<ExampleOutcome> {
  return runProgram(join(example, "main.ts"), join(example, "expected.txt"));
}

/** Runs a program in an empty folder. Fails when it fails. */
export async function runProgram(program: string, expectedFile: string): Promise<ExampleOutcome> {
  const expected = readFileSync(expectedFile, "utf8");
  const folder = mkdtempSync(join(tmpdir(), "dure-example-"));
  try {
    const node = join(repository, "node_modules/.bin/node");
    const { isGreen, output, errors } = await run(
      node,
      ["--conditions=dure-source", program],
      folder,
    );
    if (!isGreen) throw new Error(`${program} failed\n${output}\n${errors}`);
    return { printed: normalise(output), expected: normalise(expected) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Compiles a project and returns what the compiler says: nothing, when all is well. */
export async function compileProject(project: string): Promise<string> {
  const tsc = join(repository, "node_modules/.bin/tsc");
  const { isGreen, output, errors } = await run(tsc, ["-p", project], repository);
  return isGreen ? output : `${output}${errors}` || "tsc did not run";
}

/** Replaces what differs from run to run: ids, times, durations and ports. */
export function normalise(output: string): string {
  return output
    .replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/gi, "<id>")
    .replace(/\b[0-9A-HJKMNP-TV-Z]{26}\b/g, "<id>")
    .replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)/g, "<time>")
    .replace(/\b\d+(?:\.\d+)? ?(ms|s)\b/g, "<$1>")
    .replace(/(localhost|127\.0\.0\.1):\d+/g, "$1:<port>")
    .replace(/[ \t\r]+$/gm, "")
    .trimEnd();
}

function linksOf(text: string): readonly { target: string; line: number }[] {
  let fence: string | undefined;
  return text.split("\n").flatMap((line, index) => {
    const marker = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
    if (marker !== undefined && (fence === undefined || marker.startsWith(fence))) {
      fence = fence === undefined ? marker : undefined;
    }
    if (fence !== undefined) return [];
    const prose = line.replace(/(`+)(?:(?!`).)+?\1/g, "");
    const inline = [...prose.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+["'][^)]*)?\)/g)];
    const defined = [...prose.matchAll(/^\s*\[[^\]]+\]:\s*<?([^\s>]+)/g)];
    const html = [...prose.matchAll(/\b(?:src|href)="([^"]+)"/g)];
    return [...inline, ...defined, ...html].map(([, target]) => ({
      target: target ?? "",
      line: index + 1,
    }));
  });
}

function resolveLink(from: string, path: string): string {
  if (path === "") return from;
  return posix.join(path.startsWith("/") ? "." : posix.dirname(from), path);
}

/** The anchors that GitHub gives to headings, and those written by hand. */
function anchorsOf(text: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  const prose = text.replace(/^\s*(`{3,}|~{3,})[\s\S]*?^\s*\1/gm, "");
  for (const [, heading = ""] of prose.matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)) {
    const slug = heading
      .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replace(/\s/g, "-");
    let anchor = slug;
    for (let copy = 1; anchors.has(anchor); copy += 1) anchor = `${slug}-${copy}`;
    anchors.add(anchor);
  }
  for (const [, id = ""] of prose.matchAll(/<a\s+(?:id|name)="([^"]+)"/g)) anchors.add(id);
  return anchors;
}

/** Every line of a block keeps its number in the page, so that the compiler names the page's line. */
function writeBlocks(folder: string, page: Page): readonly string[] {
  const lines = page.text.split("\n");
  let chain: readonly Block[] = [];
  return blocksOf(lines).map((block, index) => {
    const isContinued = lines.slice(block.start, block.end).find((x) => x.trim() !== "");
    chain = isContinued?.trim().startsWith("// continues") === true ? [...chain, block] : [block];
    const isInside = (line: number): boolean => chain.some((x) => line >= x.start && line < x.end);
    const path = `${page.path}-${index + 1}.ts`;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    const text = lines.map((line, number) => (isInside(number) ? line : "")).join("\n");
    writeFileSync(join(folder, path), text);
    return path;
  });
}

function blocksOf(lines: readonly string[]): readonly Block[] {
  const blocks: Block[] = [];
  let open: { marker: string; isTypeScript: boolean; start: number } | undefined;
  for (const [index, line] of lines.entries()) {
    const [, marker, language] = /^\s*(`{3,}|~{3,})\s*(\w*)/.exec(line) ?? [];
    if (marker === undefined) continue;
    if (open === undefined) {
      open = {
        marker,
        isTypeScript: /^(?:ts|typescript)$/i.test(language ?? ""),
        start: index + 1,
      };
    } else if (marker.startsWith(open.marker) && language === "") {
      if (open.isTypeScript) blocks.push({ start: open.start, end: index });
      open = undefined;
    }
  }
  return blocks;
}

async function run(
  program: string,
  args: readonly string[],
  folder: string,
): Promise<{ isGreen: boolean; output: string; errors: string }> {
  const env = { ...process.env };
  delete env["NODE_OPTIONS"];
  return new Promise((done) => {
    const options = { cwd: folder, env, timeout: exampleTimeoutMs, maxBuffer: 1 << 26 };
    execFile(program, args, options, (error, output, errors) => {
      done({ isGreen: error === null, output, errors });
    });
  });
}

if (import.meta.main) {
  const pages = readPages();
  const complaints = [
    ...findBrokenLinks(pages),
    ...(await compileBlocks(pages.filter(hasPromises))),
  ];
  for (const complaint of complaints) console.error(complaint);
  console.log(`${pages.length} pages, ${complaints.length} complaints`);
  process.exitCode = complaints.length === 0 ? 0 : 1;
}
