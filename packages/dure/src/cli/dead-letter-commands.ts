import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import { createDeadLetters } from "../admin/index.ts";
import type {
  Actor,
  DeadLetter,
  DeadLetterFilter,
  DeadLetterSide,
  DeadLetters,
} from "../admin/index.ts";
import { DureError, isDureError } from "../core/errors.ts";
import { postgresAdmin } from "../postgres/index.ts";
import { withCheckedPool } from "./database.ts";
import type { DatabaseOptions } from "./database.ts";
import { describeFailure } from "./failure.ts";
import type { CliOutput } from "./output.ts";
import { alignColumns } from "./table.ts";

interface FilterOptions extends DatabaseOptions {
  readonly consumer?: string;
  readonly topic?: string;
  readonly key?: string;
  readonly type?: string;
  readonly side?: DeadLetterSide;
  readonly limit?: number;
}

type ListOptions = FilterOptions & { readonly json?: true };
type RedriveOptions = FilterOptions & Actor & { readonly allMatching?: true };
type DiscardOptions = DatabaseOptions & Actor & { readonly reason: string };

const listLimitDefault = 100;

/** Adds `dure dead-letters list | redrive | discard`. */
export function addDeadLetterCommands(
  program: Command,
  withDatabase: (command: Command) => Command,
  output: CliOutput,
): void {
  const group = program
    .command("dead-letters")
    .description("Look at what failed for good, try it again, or give it up.");
  withFilter(withDatabase(group.command("list")))
    .description("List dead letters, the oldest first.")
    .option("--json", "print JSON")
    .action((options: ListOptions) => list(options, output));
  withFilter(withDatabase(group.command("redrive")))
    .description(
      "Try dead letters again: same ids, in order per key; retry parked sagas. Written to the audit log.",
    )
    .argument("[id...]", "the ids that the list shows")
    .option("--all-matching", "all that the filters match, instead of ids")
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .option("--reason <text>", "why, for the audit log")
    .action((ids: string[], options: RedriveOptions) => redrive(ids, options, output));
  withDatabase(group.command("discard"))
    .description(
      "Give dead letters up for good and let their keys go on. Written to the audit log.",
    )
    .argument("<id...>", "the ids that the list shows")
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log")
    .action((ids: string[], options: DiscardOptions) =>
      eachId(ids, options, "discarded", output, (deadLetters, id) =>
        deadLetters.discard({ id }, { actor: options.actor, reason: options.reason }),
      ),
    );
}

function withFilter(command: Command): Command {
  return command
    .option("--consumer <group>", "of this consumer group; of this source for the relay's side")
    .option("--topic <topic>", "of this topic")
    .option("--key <key>", "of this key")
    .option("--type <type>", "of this event type")
    .addOption(
      new Option("--side <side>", "of the relay, of consumers, or sagas").choices([
        "relay",
        "consumer",
        "saga",
      ]),
    )
    .option("--limit <count>", "at most this many", readLimit);
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= 10_000) return limit;
  throw new InvalidArgumentError("It must be a whole number from 1 to 10000.");
}

function withDeadLetters<Result>(
  options: DatabaseOptions,
  work: (deadLetters: DeadLetters) => Promise<Result>,
): Promise<Result> {
  const { schema } = options;
  return withCheckedPool(options, (pool) =>
    work(createDeadLetters(postgresAdmin({ pool, schema }))),
  );
}

async function list(options: ListOptions, output: CliOutput): Promise<void> {
  const limit = options.limit ?? listLimitDefault;
  const found = await withDeadLetters(options, (deadLetters) =>
    deadLetters.list(filterOf(options), { limit }),
  );
  if (options.json === true) output.out(JSON.stringify(found, undefined, 2));
  else output.out(found.length === 0 ? "no dead letters" : describeList(found));
  if (found.length === limit) output.error(`${limit} shown, there may be more: give --limit`);
}

function describeList(found: readonly DeadLetter[]): string {
  const head = [
    "ID",
    "SIDE",
    "CONSUMER",
    "TYPE",
    "KEY",
    "ATTEMPTS",
    "BEHIND",
    "LAST FAILED",
    "ERROR",
  ];
  const rows = found.map((letter) => [
    letter.id,
    letter.side,
    letter.consumer,
    letter.type,
    letter.key,
    String(letter.attempts),
    String(letter.heldCount),
    letter.lastFailedAt ?? "",
    [letter.step, letter.errorCode, letter.lastError].filter((part) => part !== null).join(": "),
  ]);
  return alignColumns([head, ...rows], { right: [0, 5, 6] });
}

async function redrive(
  ids: readonly string[],
  options: RedriveOptions,
  output: CliOutput,
): Promise<void> {
  const { actor, reason, limit } = options;
  const by = { actor, ...(reason !== undefined && { reason }) };
  const filter = filterOf(options);
  if (options.allMatching === true) {
    if (ids.length > 0) throw usage("give ids or --all-matching, not both");
    const count = await withDeadLetters(options, (deadLetters) =>
      deadLetters.redrive(filter, { ...by, ...(limit !== undefined && { limit }) }),
    );
    output.out(`redriven: ${count}`);
    return;
  }
  if (ids.length === 0) throw usage("which dead letters? Give ids, or --all-matching with filters");
  if (limit !== undefined || Object.keys(filter).length > 0) {
    throw usage("filters go with --all-matching, not with ids");
  }
  await eachId(ids, options, "redriven", output, (deadLetters, id) =>
    deadLetters.redrive({ id }, by),
  );
}

/** Does what can be done, says which ids there are none of, and fails if there was one. */
async function eachId(
  ids: readonly string[],
  options: DatabaseOptions,
  done: string,
  output: CliOutput,
  act: (deadLetters: DeadLetters, id: string) => Promise<number>,
): Promise<void> {
  const missing: DureError[] = [];
  let count = 0;
  await withDeadLetters(options, async (deadLetters) => {
    for (const id of new Set(ids)) {
      try {
        count += await act(deadLetters, id);
      } catch (error) {
        if (!isDureError(error, "DEAD_LETTER_NOT_FOUND")) throw error;
        missing.push(error);
      }
    }
  });
  output.out(`${done}: ${count}`);
  const last = missing.pop();
  for (const error of missing) output.error(describeFailure(error).line);
  if (last !== undefined) throw last;
}

function filterOf({ consumer, topic, key, type, side }: FilterOptions): DeadLetterFilter {
  return {
    ...(consumer !== undefined && { consumer }),
    ...(topic !== undefined && { topic }),
    ...(key !== undefined && { key }),
    ...(type !== undefined && { type }),
    ...(side !== undefined && { side }),
  };
}

function usage(message: string): DureError {
  return new DureError("CONFIGURATION_INVALID", message);
}
