import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import { createSagaControl } from "../admin/index.ts";
import type { ActorWithReason, SagaControl, SagaFilter } from "../admin/index.ts";
import { DureError } from "../core/errors.ts";
import { postgresAdmin } from "../postgres/index.ts";
import { sagaStatuses } from "../saga/saga-event.ts";
import { plansOf } from "../saga/saga-plans.ts";
import { withCheckedPool } from "./database.ts";
import type { DatabaseOptions } from "./database.ts";
import { exportedSagas } from "./exported-sagas.ts";
import type { CliOutput } from "./output.ts";
import { checkSagas } from "./saga-check-command.ts";
import { describeSaga, describeSagas, describeTimers } from "./saga-texts.ts";

type JsonOptions = DatabaseOptions & { readonly json?: true };
type ListOptions = JsonOptions & SagaFilter & { readonly limit: number; readonly cursor?: string };
type ShowOptions = JsonOptions & { readonly results?: true; readonly module?: string };
type ActOptions = JsonOptions & ActorWithReason;
type SkipOptions = ActOptions & { readonly result?: unknown };
type ResolveOptions = ActOptions & { readonly as: "COMPLETED" | "COMPENSATED" };
type TimerListOptions = JsonOptions & { readonly definition?: string; readonly limit: number };
type MoveOptions = ActOptions & { readonly to: Date };
type DeadlineOptions = ActOptions & { readonly to?: Date; readonly none?: true };

/** Adds `dure sagas list | show | retry | skip | compensate | resolve | cancel | timers | check`. */
export function addSagaCommands(
  program: Command,
  withDatabase: (command: Command) => Command,
  output: CliOutput,
): void {
  const group = program
    .command("sagas")
    .description("Look at sagas, bring parked ones to an end, check them against new definitions.");
  const add: Add = (name, parent = group) =>
    withDatabase(parent.command(name)).option("--json", "print JSON");
  addLooking(add, output);
  addCommands(add, output);
  addTimers(add, group, output);
}

type Add = (name: string, parent?: Command) => Command;

function addLooking(add: Add, output: CliOutput): void {
  add("list")
    .description("List sagas, the newest first.")
    .option("--definition <name>", "of this definition")
    .addOption(new Option("--status <status>", "in this state").choices(sagaStatuses))
    .option("--business-key <key>", "about this: an order's id")
    .option("--limit <count>", "at most this many", readLimit, 100)
    .option("--cursor <cursor>", "the page after the one that printed it")
    .action(async (options: ListOptions) => {
      const { limit, cursor, definition, status, businessKey } = options;
      const page = await withControl(options, (control) =>
        control.list({
          limit,
          ...(cursor !== undefined && { cursor }),
          ...(definition !== undefined && { definition }),
          ...(status !== undefined && { status }),
          ...(businessKey !== undefined && { businessKey }),
        }),
      );
      print(options, output, page, describeSagas(page.sagas));
      if (page.cursor !== null) output.error(`there may be more: --cursor ${page.cursor}`);
    });
  add("show")
    .description("Show a saga: its steps, its journal, and what is owed.")
    .argument("<id>", "the saga's id")
    .option("--module <path>", "the module that exports its definition: then what is owed is exact")
    .option("--results", "with the steps' results: payload (in JSON only)")
    .action(async (id: string, options: ShowOptions) => {
      const withResults = options.results === true;
      const found = await withControl(options, (control) => control.get(id, { withResults }));
      print(options, output, found, describeSaga(found));
    });
  add("check")
    .description(
      "Check that all live sagas can go on under the definitions that a module exports. Runs the module.",
    )
    .argument("<module>", "a .ts or .js file")
    .action((module: string, options: JsonOptions) => checkSagas(module, options, output));
}

function addCommands(add: Add, output: CliOutput): void {
  const act = (name: string, what: string): Command =>
    withActor(add(name).description(`${what} Written to the audit log.`)).argument(
      "<id>",
      "the saga's id",
    );
  const run = async (
    id: string,
    options: ActOptions,
    work: (control: Control, by: ActorWithReason) => Promise<boolean>,
  ): Promise<void> => {
    const { actor, reason } = options;
    const isNew = await withControl(options, (control) => work(control, { actor, reason }));
    const text = isNew
      ? `asked: whoever drives the saga takes it; see dure sagas show ${id}`
      : `was asked already: see dure sagas show ${id}`;
    print(options, output, { isNew }, text);
  };
  act("retry", "Try again what failed for good, or what waits for a time.").action(
    (id: string, options: ActOptions) => run(id, options, (control, by) => control.retry(id, by)),
  );
  act("skip", "Go on as if a step, or its compensation, had been done: someone has seen to it.")
    .argument("<step>", "the step's name")
    .option("--result <json>", "what later steps are to read as its result", readJson)
    .action((id: string, step: string, options: SkipOptions) => {
      const { result } = options;
      return run(id, options, (control, by) =>
        control.skip(id, step, { ...by, ...(result !== undefined && { result }) }),
      );
    });
  act("compensate", "Undo what was done.").action((id: string, options: ActOptions) =>
    run(id, options, (control, by) => control.compensate(id, by)),
  );
  act("cancel", "Undo a running saga; the reason becomes the code of its outcome.").action(
    (id: string, options: ActOptions) => run(id, options, (control, by) => control.cancel(id, by)),
  );
  act("resolve", "End a parked saga as it stands: someone has done outside what was missing.")
    .addOption(
      new Option("--as <status>", "as what it ended")
        .choices(["COMPLETED", "COMPENSATED"])
        .makeOptionMandatory(),
    )
    .action((id: string, options: ResolveOptions) =>
      run(id, options, (control, by) => control.resolve(id, { ...by, as: options.as })),
    );
}

function addTimers(add: Add, sagas: Command, output: CliOutput): void {
  const group = sagas.command("timers").description("Look at what sagas wait for, and move it.");
  add("list", group)
    .description("List sagas that wait for a time, the soonest first.")
    .option("--definition <name>", "of this definition")
    .option("--limit <count>", "at most this many", readLimit, 100)
    .action(async (options: TimerListOptions) => {
      const { definition, limit } = options;
      const found = await withControl(options, (control) =>
        control.timers.list({ limit, ...(definition !== undefined && { definition }) }),
      );
      print(options, output, found, describeTimers(found));
    });
  const move = (name: string, what: string): Command =>
    withActor(add(name, group).description(`${what} Written to the audit log.`)).argument(
      "<id>",
      "the saga's id",
    );
  const moved = async (options: ActOptions, work: (control: Control) => Promise<boolean>) => {
    const isNew = await withControl(options, work);
    print(options, output, { isNew }, isNew ? "moved" : "was there already");
  };
  move("move", "Move the next attempt, or an answer's time-out. At once: dure sagas retry.")
    .requiredOption("--to <time>", "ISO 8601: 2026-11-21T18:00:00Z", readTime)
    .action((id: string, options: MoveOptions) => {
      const { actor, reason, to: at } = options;
      return moved(options, (control) => control.timers.move(id, { actor, reason, at }));
    });
  move("move-deadline", "Move the saga's deadline, or take it away.")
    .addOption(new Option("--to <time>", "ISO 8601").argParser(readTime).conflicts("none"))
    .option("--none", "it has none any more")
    .action((id: string, options: DeadlineOptions) => {
      const { actor, reason, to, none } = options;
      if (to === undefined && none === undefined) throw usage("give --to or --none");
      const at = to ?? null;
      return moved(options, (control) => control.timers.moveDeadline(id, { actor, reason, at }));
    });
}

function withActor(command: Command): Command {
  return command
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log");
}

type Control = ReturnType<typeof createSagaControl> & SagaControl;

async function withControl<Result>(
  options: DatabaseOptions & { readonly module?: string },
  work: (control: Control) => Promise<Result>,
): Promise<Result> {
  const { schema, module } = options;
  const plans = plansOf(module === undefined ? [] : await exportedSagas(module));
  return withCheckedPool(options, (pool) => {
    const { sagas: store } = postgresAdmin({ pool, schema });
    return work(createSagaControl({ store, plans, onCommand: () => undefined }));
  });
}

function print(options: JsonOptions, output: CliOutput, value: unknown, text: string): void {
  output.out(options.json === true ? JSON.stringify(value, undefined, 2) : text);
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1_000) return limit;
  throw new InvalidArgumentError("It must be a whole number from 1 to 1000.");
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new InvalidArgumentError('It must be JSON: 17, "text", {"ref": "r-1"}.');
  }
}

function readTime(text: string): Date {
  const time = new Date(text);
  if (/^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(time.getTime())) return time;
  throw new InvalidArgumentError("It must be a time like 2026-11-21T18:00:00Z.");
}

function usage(message: string): DureError {
  return new DureError("CONFIGURATION_INVALID", message);
}
