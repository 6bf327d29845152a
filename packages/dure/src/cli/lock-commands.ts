import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { createLockControl } from "../admin/index.ts";
import type { ActorWithReason, LockControl } from "../admin/index.ts";
import type { HeldLease } from "../lock/index.ts";
import { postgresAdmin } from "../postgres/index.ts";
import { withCheckedPool } from "./database.ts";
import type { DatabaseOptions } from "./database.ts";
import type { CliOutput } from "./output.ts";
import { alignColumns, visible } from "./table.ts";

type JsonOptions = DatabaseOptions & { readonly json?: true };
type ListOptions = JsonOptions & { readonly prefix: string; readonly limit: number };

/** Adds `dure locks list | release`. */
export function addLockCommands(
  program: Command,
  withDatabase: (command: Command) => Command,
  output: CliOutput,
): void {
  const group = program
    .command("locks")
    .description("Look at the locks that are kept in this database, and release them.");
  const add = (name: string): Command =>
    withDatabase(group.command(name)).option("--json", "print JSON");
  add("list")
    .description("Show the locks that are held now, and by whom.")
    .option("--prefix <text>", "only keys that begin so", "")
    .option("--limit <count>", "at most so many", readLimit, 100)
    .action((options: ListOptions) => list(options, output));
  add("release")
    .description(
      "Free a lock whoever holds it; what its holder has not committed is refused. Written to the audit log.",
    )
    .argument("<key>", "as dure locks list shows it")
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log")
    .action((key: string, options: JsonOptions & ActorWithReason) => release(key, options, output));
}

function withControl<Result>(
  options: DatabaseOptions,
  work: (control: LockControl) => Promise<Result>,
): Promise<Result> {
  const { schema } = options;
  return withCheckedPool(options, (pool) =>
    work(createLockControl(postgresAdmin({ pool, schema }).locks)),
  );
}

async function list(options: ListOptions, output: CliOutput): Promise<void> {
  const { prefix, limit } = options;
  const held = await withControl(options, (control) => control.list({ prefix, limit }));
  print(options, output, held, held.length === 0 ? "no lock is held" : describe(held));
}

function describe(held: readonly HeldLease[]): string {
  const rows = held.map(({ key, label, token, acquiredAt, remainingMs }) => [
    key,
    label,
    String(token),
    acquiredAt ?? "",
    `${(remainingMs / 1_000).toFixed(1)} s`,
  ]);
  return alignColumns([["KEY", "HELD BY", "TOKEN", "SINCE", "LEASE"], ...rows], { right: [2, 4] });
}

async function release(
  key: string,
  options: JsonOptions & ActorWithReason,
  output: CliOutput,
): Promise<void> {
  const { actor, reason } = options;
  const isReleased = await withControl(options, (control) =>
    control.forceRelease(key, { actor, reason }),
  );
  const text = isReleased ? `released ${visible(key)}` : `nobody held ${visible(key)}`;
  print(options, output, { isReleased }, text);
}

function print(options: JsonOptions, output: CliOutput, value: unknown, text: string): void {
  output.out(options.json === true ? JSON.stringify(value, undefined, 2) : text);
}

function readLimit(text: string): number {
  const count = Number(text);
  if (/^\d{1,5}$/.test(text) && count >= 1 && count <= 10_000) return count;
  throw new InvalidArgumentError("It must be a whole number from 1 to 10000.");
}
