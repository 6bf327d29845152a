/** The documentation is true: its links lead somewhere, its code compiles, its examples run. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  compileBlocks,
  findBrokenLinks,
  findExamples,
  hasPromises,
  normalise,
  readPages,
  runExample,
  type Page,
} from "./check-docs.ts";

const timeoutMs = 150_000;
const work: string = mkdtempSync(join(tmpdir(), "dure-docs-test-"));

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

describe("the repository", () => {
  const pages = readPages();

  it("has no link that leads nowhere", () => {
    expect(findBrokenLinks(pages)).toEqual([]);
  });

  it("shows no code that does not compile", { timeout: timeoutMs }, async () => {
    expect(await compileBlocks(pages.filter(hasPromises))).toEqual([]);
  });

  it("has an expected.txt for every example", () => {
    const silent = findExamples().filter((example) => !existsSync(join(example, "expected.txt")));
    expect(silent).toEqual([]);
  });

  it("goes through the whole example in the tutorial, and through nothing else", () => {
    const tutorial = readFileSync("docs/tutorial/saga-that-survives-kill-9.md", "utf8");
    const program = readFileSync("examples/saga-survives-kill/main.ts", "utf8");
    const shown = [...tutorial.matchAll(/^```ts\n(?:\/\/ continues\n)?(.*?)^```$/gms)];
    expect(shown.map(([, block]) => block).join("\n")).toBe(program.replace(/^\/\/.*\n/, ""));
  });

  it.each(findExamples().map((example) => [basename(example), example]))(
    "prints what it says it prints: example %s",
    { timeout: timeoutMs },
    async (_, example) => {
      const { printed, expected } = await runExample(example);
      expect(printed).toBe(expected);
    },
  );
});

describe("the link check", () => {
  const page = (text: string): readonly Page[] => {
    mkdirSync(join(work, "docs"), { recursive: true });
    writeFileSync(join(work, "docs/there.md"), "# One `thing`, done\n## Again\n## Again\n");
    writeFileSync(join(work, "docs/here.md"), text);
    return [{ path: "docs/here.md", text }];
  };

  it.each([
    "see [this](gone.md)",
    "see [this](../gone/)",
    "see [this](there.md#missing)",
    "see [this](#missing)",
    "![picture](gone.png)",
    "[this]: gone.md",
    '<img src="gone.png">',
    "see [this](../../outside.md)",
    "see [this](/gone.md)",
  ])("refuses %s", (text) => {
    expect(findBrokenLinks(page(text), work)).toHaveLength(1);
  });

  it.each([
    "see [this](there.md) and [that](../docs/)",
    "see [this](there.md#one-thing-done) and [that](there.md#again-1)",
    "# Here\nsee [this](#here)",
    "see [this](https://example.org/gone.md), [mail](mailto:a@example.org)",
    "`[this](gone.md)`",
    "```md\n[this](gone.md)\n```",
    "see [this](/docs/there.md)",
  ])("accepts %s", (text) => {
    expect(findBrokenLinks(page(text), work)).toEqual([]);
  });
});

describe("the block check", () => {
  const ts = (...lines: readonly string[]): string => ["```ts", ...lines, "```", ""].join("\n");

  it("names the page and the line of what does not compile", { timeout: timeoutMs }, async () => {
    const text = `# Title\n\n${ts("const count: number = 1;", 'const name: number = "x";')}`;
    expect(await compileBlocks([{ path: "docs/a.md", text }])).toEqual([
      expect.stringMatching(/^docs\/a\.md\(5,7\): error TS2322/),
    ]);
  });

  it(
    "resolves the library, and refuses a name it does not have",
    { timeout: timeoutMs },
    async () => {
      const text = ts('import { errorCodes, noSuchName } from "dure";', "console.log(errorCodes);");
      const said = await compileBlocks([{ path: "README.md", text }]);
      expect(said).toEqual([
        expect.stringMatching(/^README\.md\(2,\d+\): error TS2305.*noSuchName/),
      ]);
    },
  );

  it(
    "offers no way out for a block that is not meant to compile",
    { timeout: timeoutMs },
    async () => {
      const text = "```ts ignore\nconst count: number = none;\n```\n";
      expect(await compileBlocks([{ path: "docs/a.md", text }])).toHaveLength(1);
    },
  );

  it("compiles a continuation after the block above it", { timeout: timeoutMs }, async () => {
    const first = ts("const count: number = 1;");
    const text = first + ts("// continues", "console.log(count);") + ts("console.log(count);");
    expect(await compileBlocks([{ path: "docs/a.md", text }])).toEqual([
      expect.stringMatching(/^docs\/a\.md\(9,13\): error TS2304/),
    ]);
  });
});

describe("the example check", () => {
  const example = (name: string, program: string, expected: string): string => {
    const folder = join(work, "examples", name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "main.ts"), program);
    writeFileSync(join(folder, "expected.txt"), expected);
    return folder;
  };

  it("sees an output that differs", async () => {
    const { printed, expected } = await runExample(
      example("other", 'console.log("two");', "one\n"),
    );
    expect(printed).not.toBe(expected);
  });

  it("sees an example that fails after printing what it should", async () => {
    const folder = example("fails", 'console.log("one"); throw new Error("broken");', "one\n");
    await expect(runExample(folder)).rejects.toThrow("broken");
  });

  it("ignores ids, times, durations and ports, and nothing else", () => {
    const first = "sent 01890a5d-ac96-774b-bcce-b302099a8057 at 2026-11-20T10:00:00.123Z in 3.5 ms";
    const second = "sent 01890a5d-ac96-774b-bcce-b302099a8058 at 2026-11-20T11:00:00Z in 12 ms";
    expect(normalise(first)).toBe(normalise(second));
    expect(normalise("attempt 1 of 3")).not.toBe(normalise("attempt 2 of 3"));
  });
});
