import { createAlerts } from "../core/alerts.ts";
import type { Alerts } from "../core/alerts.ts";
import type { Clock } from "../core/clock.ts";
import { DureError, describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { archiveDetached } from "./archive.ts";
import type { ArchiveHook } from "./archive.ts";
import { maintenanceSql, pruneBatch, retireBatch } from "./maintenance-sql.ts";
import type { MaintenanceSql } from "./maintenance-sql.ts";
import { carePartitions } from "./partitions.ts";
import type { PostgresPool } from "./pool.ts";

/** How long things are kept, in milliseconds. */
export interface Retention {
  /** Published events. @defaultValue 7 days */
  readonly messagesMs?: number;
  /** Dedup records: at least as long as a message can still be delivered again. @defaultValue 30 days */
  readonly inboxMs?: number;
  /** Sagas that have ended, with their journals. @defaultValue 30 days */
  readonly sagasMs?: number;
  /** Takes published events into an archive before their partition is dropped. Without one they are dropped. */
  readonly archive?: ArchiveHook;
}

/** Retention with the defaults filled in. */
export type RetentionSettings = Required<Omit<Retention, "archive">> & {
  readonly archive: ArchiveHook | undefined;
};

const dayMs = 86_400_000;
/** Messages and events: the default of the store and of the event log. */
export const messagesMsDefault: number = 7 * dayMs;
/** Bounds one run; the next goes on. */
const pruneRoundsMax = 2_000;

/**
 * Fills in the defaults and checks everything.
 * @throws CONFIGURATION_INVALID naming every mistake at once
 */
export function readRetention(retention: Retention = {}): RetentionSettings {
  const known = ["messagesMs", "inboxMs", "sagasMs", "archive"];
  const problems = Object.keys(retention)
    .filter((key) => !known.includes(key))
    .map((key) => `retention.${key}: is no option; there are ${known.join(", ")}`);
  const { messagesMs = messagesMsDefault, inboxMs = 30 * dayMs, archive } = retention;
  const { sagasMs = 30 * dayMs } = retention;
  problems.push(...retentionProblems("retention.messagesMs", messagesMs));
  problems.push(...retentionProblems("retention.inboxMs", inboxMs));
  problems.push(...retentionProblems("retention.sagasMs", sagasMs, dayMs));
  if (archive !== undefined && typeof archive !== "function") {
    problems.push("retention.archive: must be a function");
  }
  if (problems.length === 0) return { messagesMs, inboxMs, sagasMs, archive };
  throw new DureError("CONFIGURATION_INVALID", `postgresStore: ${problems.join("; ")}`);
}

/** What is wrong with a retention, named `name`. */
export function retentionProblems(
  name: string,
  milliseconds: number,
  msMin = 60_000,
): readonly string[] {
  if (Number.isInteger(milliseconds) && milliseconds >= msMin && milliseconds <= 3_650 * dayMs) {
    return [];
  }
  return [
    `${name}: must be a whole number of milliseconds from ${msMin} to 315360000000 (10 years)`,
  ];
}

/** What maintenance is made of. */
export interface MaintenanceParts {
  readonly pool: PostgresPool;
  /** For what may take its time: its statements are not given up. */
  readonly patientPool: PostgresPool;
  /** Quoted. */
  readonly schema: string;
  readonly retention: RetentionSettings;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The regular care of a service's own tables, with a memory of what it has said. */
export function createMaintenance(
  parts: MaintenanceParts,
): (signal?: AbortSignal) => Promise<void> {
  const alerts = createAlerts(parts.logger);
  const never = new AbortController().signal;
  return (signal = never) => maintain(parts, alerts, signal);
}

/**
 * Partitions, dedup records, the archive, and a look for traces of a sequence that was set back. Safe to run
 * in many processes at a time, and to be killed at any line.
 */
async function maintain(
  parts: MaintenanceParts,
  alerts: Alerts,
  signal: AbortSignal,
): Promise<void> {
  const { pool, schema, retention, logger } = parts;
  const { archive } = retention;
  const sql = maintenanceSql(schema);
  await carePartitions({
    ...parts,
    table: "outbox_message",
    keepMs: retention.messagesMs,
    isArchived: archive !== undefined,
    alerts,
  });
  await prune(pool, sql.pruneInbox, [retention.inboxMs], signal).catch((error: unknown) => {
    logger.warn("old dedup records could not be removed", { error: describeError(error) });
  });
  for (const [what, statement] of [
    ["locks", sql.pruneLocks],
    ["guards", sql.pruneGuards],
    ["idempotency keys", sql.pruneKeys],
  ] as const) {
    await prune(pool, statement, [], signal).catch((error: unknown) => {
      logger.warn(`old ${what} could not be removed`, { error: describeError(error) });
    });
  }
  await retireSagas(pool, sql, retention.sagasMs, signal).catch((error: unknown) => {
    logger.warn("sagas that ended long ago could not be removed", { error: describeError(error) });
  });
  await lookForSetBack(pool, sql, alerts);
  if (archive !== undefined) return archiveDetached({ ...parts, archive, signal });
  const { rows } = await pool.query(sql.waitingForArchive);
  const count = Number(rows[0]?.["count"]);
  alerts.warnWhile(
    count > 0,
    "old partitions wait to be archived, and there is no retention.archive any more: they are kept until there is",
    { count },
  );
}

/** In small statements, until nothing old is left: one batch an hour would fall behind for ever. */
async function prune(
  pool: PostgresPool,
  statement: string,
  params: readonly unknown[],
  signal: AbortSignal,
): Promise<void> {
  for (let round = 0; round < pruneRoundsMax && !signal.aborted; round += 1) {
    const { rowCount } = await pool.query(statement, params);
    if ((rowCount ?? 0) < pruneBatch) return;
  }
}

/** As {@link prune}. */
async function retireSagas(
  pool: PostgresPool,
  sql: MaintenanceSql,
  keepMs: number,
  signal: AbortSignal,
): Promise<void> {
  for (let round = 0; round < pruneRoundsMax && !signal.aborted; round += 1) {
    const { rows } = await pool.query(sql.retireSagas, [keepMs, retireBatch]);
    if (Number(rows[0]?.["count"]) < retireBatch) return;
  }
}

/** The relay looks when it takes over; what happened under its eyes and too fast for them is found here. */
async function lookForSetBack(
  pool: PostgresPool,
  sql: MaintenanceSql,
  alerts: Alerts,
): Promise<void> {
  const { rows } = await pool.query(sql.setBackShards);
  const shards = rows.map((row) => String(row["shard"])).join(", ");
  alerts.errorWhile(
    rows.length > 0,
    'OUTBOX_SEQUENCE_SET_BACK: there are traces of a position sequence that was set back: events may be hidden. "dure relay rebase" mends it and loses nothing',
    { shards },
  );
}
