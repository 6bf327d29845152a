import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { createSemaphoreControl } from "../admin/index.ts";
import type {
  Actor,
  ActorWithReason,
  SemaphoreControl,
  SemaphorePlace,
  SemaphoreStatus,
} from "../admin/index.ts";
import { postgresAdmin } from "../postgres/index.ts";
import { withCheckedPool } from "./database.ts";
import type { DatabaseOptions } from "./database.ts";
import type { CliOutput } from "./output.ts";
import { alignColumns, visible } from "./table.ts";

type JsonOptions = DatabaseOptions & { readonly json?: true };
type PlacesOptions = JsonOptions & { readonly limit: number };
type SetOptions = DatabaseOptions &
  ActorWithReason & { readonly permits?: number; readonly lineMax?: number };

/** Adds `dure semaphores list | places | set | reset | release`. */
export function addSemaphoreCommands(
  program: Command,
  withDatabase: (command: Command) => Command,
  output: CliOutput,
): void {
  const group = program
    .command("semaphores")
    .description("Look at permits and their lines, change how many there are, take one away.");
  withDatabase(group.command("list"))
    .description("Show the semaphores: permits held, length of the line, and for how long.")
    .option("--json", "print JSON")
    .action((options: JsonOptions) => list(options, output));
  withDatabase(group.command("places"))
    .description("Show who holds permits of a semaphore and who waits, the line in its order.")
    .argument("<name>", "the semaphore")
    .option("--limit <count>", "at most this many", readCount, 100)
    .option("--json", "print JSON")
    .action((name: string, options: PlacesOptions) => places(name, options, output));
  withDatabase(group.command("set"))
    .description(
      "Change the number of permits or the length of the line, at once and until reset. Written to the audit log.",
    )
    .argument("<name>", "the semaphore")
    .option("--permits <count>", "so many at once; 0: nobody comes in", readCount)
    .option("--line-max <count>", "so many may wait", readCount)
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log")
    .action((name: string, options: SetOptions) => set(name, options, output));
  withDatabase(group.command("reset"))
    .description("Let the numbers of the code hold again. Written to the audit log.")
    .argument("<name>", "the semaphore")
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .option("--reason <text>", "why, for the audit log")
    .action((name: string, options: DatabaseOptions & Actor) => reset(name, options, output));
  withDatabase(group.command("release"))
    .description(
      "Take a permit, or a place in the line, from whoever has it; the next has it at once. Written to the audit log.",
    )
    .argument("<id>", "the place, as dure semaphores places shows it")
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log")
    .action((id: string, options: DatabaseOptions & ActorWithReason) =>
      release(id, options, output),
    );
}

function withControl<Result>(
  options: DatabaseOptions,
  work: (control: SemaphoreControl) => Promise<Result>,
): Promise<Result> {
  const { schema } = options;
  return withCheckedPool(options, (pool) =>
    work(createSemaphoreControl(postgresAdmin({ pool, schema }).semaphores)),
  );
}

async function list(options: JsonOptions, output: CliOutput): Promise<void> {
  const found = await withControl(options, (control) => control.list());
  const text = found.length === 0 ? "no semaphores" : describeList(found);
  output.out(options.json === true ? JSON.stringify(found, undefined, 2) : text);
}

function describeList(found: readonly SemaphoreStatus[]): string {
  const head = "NAME HELD PERMITS WAITING LINE-MAX OLDEST-WAIT LONGEST-HELD".split(" ");
  const rows = found.map((each) => [
    visible(each.name),
    ...[each.held, each.permits, each.waiting, each.lineMax].map(String),
    seconds(each.oldestWaitMs),
    seconds(each.longestHeldMs),
    each.isSet
      ? `set by an operator; the code says ${each.declaredPermits}, ${each.declaredLineMax}`
      : "",
  ]);
  return alignColumns([[...head, ""], ...rows], { right: [1, 2, 3, 4, 5, 6] });
}

async function places(name: string, options: PlacesOptions, output: CliOutput): Promise<void> {
  const { limit } = options;
  const found = await withControl(options, (control) => control.places(name, { limit }));
  const text = found.length === 0 ? "nobody holds a permit or waits" : describePlaces(found);
  output.out(options.json === true ? JSON.stringify(found, undefined, 2) : text);
  if (found.length === limit) output.error(`${limit} shown, there may be more: give --limit`);
}

function describePlaces(found: readonly SemaphorePlace[]): string {
  const head = "ID STATE POSITION FOR LEASE PROCESS".split(" ");
  const rows = found.map((each) => [
    each.id,
    each.state,
    each.position === null ? "" : String(each.position),
    seconds(each.forMs),
    seconds(each.leaseMsLeft),
    visible(each.process),
  ]);
  return alignColumns([head, ...rows], { right: [0, 2, 3, 4] });
}

async function set(name: string, options: SetOptions, output: CliOutput): Promise<void> {
  const { actor, reason, permits, lineMax } = options;
  const size = {
    ...(permits !== undefined && { permits }),
    ...(lineMax !== undefined && { lineMax }),
  };
  await withControl(options, (control) => control.set(name, size, { actor, reason }));
  output.out("set");
}

async function reset(
  name: string,
  options: DatabaseOptions & Actor,
  output: CliOutput,
): Promise<void> {
  const { actor, reason } = options;
  const by = { actor, ...(reason !== undefined && { reason }) };
  await withControl(options, (control) => control.reset(name, by));
  output.out("reset");
}

async function release(
  id: string,
  options: DatabaseOptions & ActorWithReason,
  output: CliOutput,
): Promise<void> {
  const { actor, reason } = options;
  await withControl(options, (control) => control.release(id, { actor, reason }));
  output.out("released");
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

function readCount(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a whole number.");
}
