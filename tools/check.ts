// Runs everything a change must pass, to the end, and says what failed: `npm run check [step…]`.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

interface Step {
  readonly name: string;
  readonly command: string;
}

interface Outcome extends Step {
  readonly isGreen: boolean;
  readonly seconds: string;
  readonly output: string;
}

const steps: readonly Step[] = [
  { name: "format", command: "oxfmt --check" },
  { name: "lint", command: "oxlint" },
  { name: "types", command: "tsc -p ." },
  {
    name: "architecture",
    command: "vitest run --project house packages/dure/test/architecture.test.ts",
  },
  { name: "unit", command: "vitest run --project unit --project types" },
  { name: "docs", command: "vitest run --project house tools/docs.test.ts" },
  { name: "knip", command: "knip --no-progress" },
  { name: "package", command: "vitest run --project house packages/dure/test/package.test.ts" },
];

const root: string = fileURLToPath(new URL("..", import.meta.url));

if (import.meta.main) await main(process.argv.slice(2));

async function main(names: readonly string[]): Promise<void> {
  const unknown = names.filter((name) => steps.every((step) => step.name !== name));
  if (unknown.length > 0) {
    console.error(
      `No such step: ${unknown.join(", ")}. Steps: ${steps.map((x) => x.name).join(", ")}`,
    );
    process.exit(2);
  }
  const outcomes: Outcome[] = [];
  for (const step of steps.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const outcome = await run(step);
    console.log(lineOf(outcome));
    if (!outcome.isGreen) console.log(`  $ ${outcome.command}\n${indent(outcome.output)}\n`);
    outcomes.push(outcome);
  }
  summarise(outcomes);
}

/** The steps share two cores with other work, so they run one after the other. */
async function run(step: Step): Promise<Outcome> {
  const startedAt = performance.now();
  const [program = "", ...args] = step.command.split(" ");
  const chunks: string[] = [];
  const exitCode = await new Promise<number | null>((done) => {
    const path = `${root}node_modules/.bin:${process.env["PATH"] ?? ""}`;
    const env = { ...process.env, PATH: path, NO_COLOR: "1" };
    const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk.toString()));
    child.on("error", (error) => {
      chunks.push(error.message);
      done(null);
    });
    child.on("close", done);
  });
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  return { ...step, isGreen: exitCode === 0, seconds, output: chunks.join("") };
}

function summarise(outcomes: readonly Outcome[]): void {
  const failed = outcomes.filter(({ isGreen }) => !isGreen);
  console.log(`\nSummary\n${outcomes.map(lineOf).join("\n")}`);
  console.log(
    failed.length === 0
      ? `\nAll ${outcomes.length} steps passed.`
      : `\n${failed.length} of ${outcomes.length} steps failed. Again: npm run check ${failed.map(({ name }) => name).join(" ")}`,
  );
  process.exitCode = failed.length === 0 ? 0 : 1;
}

function lineOf({ name, isGreen, seconds }: Outcome): string {
  return `${isGreen ? "pass" : "FAIL"}  ${name.padEnd(14)}${seconds.padStart(6)} s`;
}

function indent(text: string): string {
  return text.trimEnd().replace(/^(?=.)/gm, "  ");
}
