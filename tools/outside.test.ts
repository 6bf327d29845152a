/** The examples of frameworks and ORMs compile with the real types, print what they say, and are shown in the guides. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { TestContext } from "vitest";
import { leaveOut } from "../packages/dure/test/support/leave-out.ts";
import { compileProject, runProgram } from "./check-docs.ts";
import { isStale, outsidePackages } from "./outside.ts";

const timeoutMs = 150_000;
const tools: string = fileURLToPath(new URL(".", import.meta.url));
const guides = { frameworks: "idempotency-keys.md", orms: "add-an-outbox.md" };

describe.each(Object.entries(guides))("the examples in tools/%s", (name, guide) => {
  const folder = join(tools, name);
  const examples = join(folder, "examples");
  const programs = readdirSync(examples).filter(
    (file) => file.endsWith(".ts") && file !== "shop.ts",
  );
  const needPackages = (context: TestContext): void => {
    if (existsSync(join(folder, "node_modules"))) return;
    leaveOut(context, `tools/${name} is not installed: npm ci --prefix tools/${name}`);
  };

  it("are all shown in the guide", () => {
    const text = readFileSync(join(tools, "../docs/guides", guide), "utf8");
    const hidden = programs.filter(
      (file) => !text.includes(`(../../tools/${name}/examples/${file})`),
    );
    expect([programs.length > 3, hidden]).toEqual([true, []]);
  });

  it("compile with the types of what they use", { timeout: timeoutMs }, async (context) => {
    needPackages(context);
    expect(await compileProject(folder)).toBe("");
  });

  it.for(programs)("print what they say: %s", { timeout: timeoutMs }, async (file, context) => {
    needPackages(context);
    let program = join(examples, file);
    if (file === "nestjs.ts") {
      // Node strips types, and does not know decorators.
      expect(await compileProject(join(folder, "tsconfig.build.json"))).toBe("");
      program = join(folder, "dist", `${basename(file, ".ts")}.js`);
    }
    const { printed, expected } = await runProgram(program, join(examples, "expected.txt"));
    expect(printed).toBe(expected);
  });
});

describe("what stands outside the workspaces", () => {
  it("is fetched when it is not there, and again when its lock has changed since", () => {
    const folder = mkdtempSync(join(tmpdir(), "dure-outside-"));
    const [lock, installed] = ["package-lock.json", "node_modules/.package-lock.json"];
    const write = (file: string, seconds: number): void => {
      writeFileSync(join(folder, file), "{}");
      utimesSync(join(folder, file), seconds, seconds);
    };
    mkdirSync(join(folder, "node_modules"));
    write(lock, 1_000);
    const seen = [isStale(folder)];
    write(installed, 1_001);
    seen.push(isStale(folder));
    write(lock, 1_002);
    seen.push(isStale(folder));
    rmSync(folder, { recursive: true });
    expect(seen).toEqual([true, false, true]);
  });

  it("has examples, all of it", () => {
    expect(Object.keys(guides)).toEqual(outsidePackages);
  });
});
