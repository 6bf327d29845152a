import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { createRelayControl } from "../admin/index.ts";
import type {
  Actor,
  ActorWithReason,
  DrainOutcome,
  RelayControl,
  RelayStatus,
} from "../admin/index.ts";
import { systemClock } from "../core/clock.ts";
import { postgresAdmin } from "../postgres/index.ts";
import { withCheckedPool } from "./database.ts";
import type { DatabaseOptions } from "./database.ts";
import { CliFailure } from "./failure.ts";
import type { CliOutput } from "./output.ts";
import { alignColumns, visible } from "./table.ts";

type JsonOptions = DatabaseOptions & { readonly json?: true };
type RepublishCommandOptions = JsonOptions &
  ActorWithReason & { readonly since: string; readonly topic?: string };
type DrainCommandOptions = JsonOptions & { readonly timeoutMs: number };

/** Adds `dure relay status | pause | resume | drain | rebase | republish | resync`. */
export function addRelayCommands(
  program: Command,
  withDatabase: (command: Command) => Command,
  output: CliOutput,
): void {
  const group = program
    .command("relay")
    .description("Look at the relays, pause and resume them, wait for them, repair their shards.");
  const add = (name: string): Command =>
    withDatabase(group.command(name)).option("--json", "print JSON");
  add("status")
    .description("Show the shards: who publishes them, and how far they are.")
    .action((options: JsonOptions) => status(options, output));
  add("pause")
    .description("Let no relay publish until resume; events pile up. Written to the audit log.")
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log")
    .action((options: JsonOptions & ActorWithReason) => pause(options, output));
  add("resume")
    .description("Let the relays publish again, at once. Written to the audit log.")
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .option("--reason <text>", "why, for the audit log")
    .action((options: JsonOptions & Actor) => resume(options, output));
  add("drain")
    .description("Wait until nothing is left to publish; exit code 1 when something is.")
    .option("--timeout-ms <ms>", "wait at most so long", readMilliseconds, 60_000)
    .action((options: DrainCommandOptions) => drain(options, output));
  add("rebase")
    .description(
      "Repair shards whose position sequence was set back. Loses nothing. Written to the audit log.",
    )
    .argument("[shard...]", "these shards only, if they need it", readShards)
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log")
    .action((shards: number[], options: JsonOptions & ActorWithReason) =>
      rebase(shards, options, output),
    );
  add("republish")
    .description(
      "Publish again what the outbox keeps, after the broker has lost it. Consumers drop copies. Written to the audit log.",
    )
    .requiredOption("--since <time>", "events written at this time (ISO 8601) or later", readTime)
    .option("--topic <topic>", "of this topic only")
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log")
    .action((options: RepublishCommandOptions) => republish(options, output));
  add("resync")
    .description(
      "Make a lost replication slot anew, and say what nobody can account for. Written to the audit log.",
    )
    .requiredOption("--actor <name>", "who does it, for the audit log")
    .requiredOption("--reason <text>", "why, for the audit log")
    .action((options: JsonOptions & ActorWithReason) => resync(options, output));
}

function withControl<Result>(
  options: DatabaseOptions,
  work: (control: RelayControl) => Promise<Result>,
): Promise<Result> {
  const { schema } = options;
  return withCheckedPool(options, (pool) =>
    work(createRelayControl(postgresAdmin({ pool, schema }), systemClock)),
  );
}

async function status(options: JsonOptions, output: CliOutput): Promise<void> {
  const found = await withControl(options, (control) => control.status());
  print(options, output, found, describeStatus(found));
}

function describeStatus(found: RelayStatus): string {
  const head = "SHARD OWNER EPOCH LEASE LOW HEAD LAST GAPS PENDING".split(" ");
  const rows = found.shards.map((shard) => [
    String(shard.shard),
    shard.owner ?? "nobody",
    String(shard.epoch),
    shard.leaseMsLeft === null ? "" : `${(shard.leaseMsLeft / 1_000).toFixed(1)} s`,
    ...[shard.low, shard.head, shard.last, shard.gaps, shard.pending].map(String),
    shard.isSetBack ? "SET BACK: see dure relay rebase --help" : "",
  ]);
  const lines = [
    describePause(found),
    `relays: ${found.relays}, incarnation: ${found.incarnation}, pending: ${found.pending}, tried again: ${found.retrying}, dead or behind: ${found.parked}`,
    alignColumns([[...head, ""], ...rows], { right: [0, 2, 3, 4, 5, 6, 7, 8] }),
  ];
  return lines.join("\n");
}

function describePause({ pause: found }: RelayStatus): string {
  if (found === null) return "not paused";
  return `paused by ${visible(found.actor)} at ${found.pausedAt}: ${visible(found.reason)}`;
}

async function pause(options: JsonOptions & ActorWithReason, output: CliOutput): Promise<void> {
  const { actor, reason } = options;
  const hasPaused = await withControl(options, (control) => control.pause({ actor, reason }));
  const text = hasPaused ? "paused" : "was paused already: see dure relay status";
  print(options, output, { hasPaused }, text);
}

async function resume(options: JsonOptions & Actor, output: CliOutput): Promise<void> {
  const { actor, reason } = options;
  const hasResumed = await withControl(options, (control) =>
    control.resume({ actor, ...(reason !== undefined && { reason }) }),
  );
  print(options, output, { hasResumed }, hasResumed ? "resumed" : "was not paused");
}

async function drain(options: DrainCommandOptions, output: CliOutput): Promise<void> {
  let said = "";
  const outcome = await withControl(options, (control) =>
    control.drain({
      timeoutMs: options.timeoutMs,
      onProgress({ pending, retrying }) {
        const line = `${pending} pending, ${retrying} tried again`;
        if (line !== said) output.error(line);
        said = line;
      },
    }),
  );
  const parked = outcome.parked === 0 ? "" : `; ${outcome.parked} are dead letters or behind one`;
  if (options.json === true || outcome.kind === "drained") {
    print(options, output, outcome, `drained${parked}`);
  }
  if (outcome.kind !== "drained") throw new CliFailure(describeRest(outcome), { cause: undefined });
}

function describeRest({ kind, pending, retrying, relays }: DrainOutcome): string {
  const rest = `not drained: ${pending} events pending, ${retrying} tried again`;
  if (kind === "paused") return `${rest}; the relays are paused: dure relay resume`;
  if (relays === 0) return `${rest}; no relay is running`;
  return `${rest} when the time was over: dure relay status, or a longer --timeout-ms`;
}

async function resync(options: JsonOptions & ActorWithReason, output: CliOutput): Promise<void> {
  const { actor, reason } = options;
  const report = await withControl(options, (control) => control.resync({ actor, reason }));
  const lines = report.shards
    .filter(({ missing }) => missing > 0)
    .map(
      ({ shard, missing }) => `shard ${shard}: ${missing} positions that nobody can account for`,
    );
  print(options, output, report, lines.length === 0 ? "nothing is missing" : lines.join("\n"));
}

async function rebase(
  shards: readonly number[],
  options: JsonOptions & ActorWithReason,
  output: CliOutput,
): Promise<void> {
  const { actor, reason } = options;
  const rebased = await withControl(options, (control) =>
    control.rebase({ actor, reason, ...(shards.length > 0 && { shards }) }),
  );
  const lines = rebased.map(
    ({ shard, moved, incarnation }) =>
      `shard ${shard}: rebased, ${moved} events have new positions, incarnation ${incarnation}`,
  );
  print(options, output, rebased, lines.length === 0 ? "no shard needs it" : lines.join("\n"));
}

async function republish(options: RepublishCommandOptions, output: CliOutput): Promise<void> {
  const { actor, reason, since, topic } = options;
  const shards = await withControl(options, (control) =>
    control.republish({ actor, reason, since, ...(topic !== undefined && { topic }) }),
  );
  const lines = shards.map(
    ({ shard, moved, incarnation }) =>
      `shard ${shard}: ${moved} events are published again, incarnation ${incarnation}`,
  );
  print(options, output, shards, lines.length === 0 ? "nothing is that young" : lines.join("\n"));
}

function print(options: JsonOptions, output: CliOutput, value: unknown, text: string): void {
  output.out(options.json === true ? JSON.stringify(value, undefined, 2) : text);
}

function readMilliseconds(text: string): number {
  const milliseconds = Number(text);
  if (/^\d{1,8}$/.test(text) && milliseconds <= 86_400_000) return milliseconds;
  throw new InvalidArgumentError("It must be a whole number from 0 to 86400000.");
}

function readTime(text: string): string {
  if (!Number.isNaN(Date.parse(text))) return text;
  throw new InvalidArgumentError("It must be a time like 2026-11-21T07:00:00Z.");
}

function readShards(text: string, before: readonly number[] | undefined): readonly number[] {
  if (/^\d{1,2}$/.test(text) && Number(text) <= 63) return [...(before ?? []), Number(text)];
  throw new InvalidArgumentError(
    "It must be the number of a shard, as dure relay status shows it.",
  );
}
