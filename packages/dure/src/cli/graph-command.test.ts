/** `dure graph` shows the sagas of a module, and its exit code is what a build goes by. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { runCli } from "./program.ts";

const sagas: string = fileURLToPath(new URL("../../test/support/sagas.ts", import.meta.url));
const folder: string = mkdtempSync(join(tmpdir(), "dure-graph-"));

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly error: string;
}

async function graph(...args: readonly string[]): Promise<Outcome> {
  const out: string[] = [];
  const error: string[] = [];
  const exitCode = await runCli(["graph", ...args], {
    out: (text) => void out.push(text),
    error: (text) => void error.push(text),
    isDebugging: false,
  });
  return { exitCode, out: out.join("\n"), error: error.join("\n") };
}

function moduleOf(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe("dure graph", () => {
  it("shows each saga's steps, coverage and findings, and is content without --check", async () => {
    const { exitCode, out, error } = await graph(sagas);
    expect({ exitCode, error }).toEqual({ exitCode: 0, error: "" });
    expect(out).toMatch(/^saga checkout, version 2, deadline 600 s$/m);
    expect(out).toMatch(/^hold-money +prepare +run +1500 ms +5 +run/m);
    expect(out).toMatch(/^insure +size=large +run/m);
    expect(out).toMatch(/^capture-money +pivot +run +10 s +endless/m);
    expect(out).toMatch(/^careless v1: 1 of 3 steps that may have to be undone/m);
    expect(out).toMatch(/^error STEP_NOT_COMPENSATED: "charge"/m);
  });

  it("fails with --check on an error, after it has said what is wrong", async () => {
    const { exitCode, out, error } = await graph(sagas, "--check");
    expect(exitCode).toBe(1);
    expect(out).toMatch(/^error TIMEOUT_NOT_HANDLED: "thank"/m);
    expect(error).toBe(`error 2 errors in the sagas of ${sagas}`);
  });

  it("keeps standard output a flowchart with --mermaid, and JSON with --json", async () => {
    const drawn = await graph(sagas, "--mermaid", "--check");
    expect(drawn.exitCode).toBe(1);
    expect(drawn.out.match(/^flowchart TD$/gm)).toHaveLength(2);
    expect(drawn.out).not.toContain("STEP_NOT_COMPENSATED");
    expect(drawn.error).toContain("STEP_NOT_COMPENSATED");
    const written = await graph(sagas, "--json", "--check");
    expect(written.exitCode).toBe(1);
    expect(JSON.parse(written.out)).toMatchObject([
      { graph: { name: "careless" }, check: { coverage: { compensated: 1, steps: 3 } } },
      { graph: { name: "checkout" }, check: { findings: [] } },
    ]);
  });

  it("says what is wrong with a module, in one line", async () => {
    const missing = await graph(join(folder, "missing.mjs"), "--check");
    expect(missing).toMatchObject({
      exitCode: 1,
      error: expect.stringMatching(/there is no such file/) as string,
    });
    const empty = await graph(moduleOf("empty.mjs", "export const a = 1;"));
    expect(empty).toMatchObject({
      exitCode: 1,
      error: expect.stringMatching(/exports no saga/) as string,
    });
    const broken = await graph(moduleOf("broken.mjs", 'throw new Error("no database");'));
    expect(broken).toMatchObject({
      exitCode: 1,
      error: expect.stringMatching(/cannot be loaded: Error: no database/) as string,
    });
  });

  it("used wrongly: no module, or two formats", async () => {
    expect(await graph()).toMatchObject({ exitCode: 2 });
    expect(await graph(sagas, "--json", "--mermaid")).toMatchObject({ exitCode: 2 });
  });
});
