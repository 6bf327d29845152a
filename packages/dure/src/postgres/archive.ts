import type { Clock } from "../core/clock.ts";
import { describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { ArchiveReceipt } from "./archive-checksum.ts";
import { archiveSql, firstLine } from "./archive-sql.ts";
import type { ArchiveSql } from "./archive-sql.ts";
import type { PostgresPool } from "./pool.ts";

/** A partition whose retention is over, to be archived before it is dropped. Nobody writes to it any more. */
export interface ExpiredPartition {
  /**
   * The name of its table, and a good one for the archive: unique, and the same when the partition is
   * offered again after a failure. Overwrite what an earlier attempt left.
   */
  readonly name: string;
  /** Its rows as JSON lines, in order of shard and position, read in small statements. May be called again. */
  readonly lines: () => AsyncIterable<string>;
  /** Aborts when the service stops, another process has taken over, or the time is over: give up. */
  readonly signal: AbortSignal;
}

/**
 * Puts a partition into an archive, and answers what the archive then holds of it. The partition is dropped
 * if count and checksum are the database's own, and kept if they are not or if this rejects; then it is
 * offered again. It may be offered twice, also at the same time after a failure: let the last one win.
 */
export type ArchiveHook = (partition: ExpiredPartition) => Promise<ArchiveReceipt>;

/** What archiving is made of. */
export interface ArchiveParts {
  readonly pool: PostgresPool;
  /** For reading a whole partition: its statements are not given up. */
  readonly patientPool: PostgresPool;
  /** Quoted. */
  readonly schema: string;
  readonly archive: ArchiveHook;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Bounds one run; the next goes on. */
const partitionsMax = 24;
const leaseMs = 60_000;
/** After this long a hook is given up: the partition is offered again. */
const hookMsMax = 6 * 3_600_000;

interface Taken {
  readonly name: string;
  /** The fencing token: who took it later has a higher one. */
  readonly token: string;
}

/**
 * Offers the detached partitions to the archive, one at a time. No transaction is open and no lock is held
 * while the hook runs; a lease keeps other processes away. If the process dies, the lease runs out and the
 * next maintenance of any process offers the partition again.
 */
export async function archiveDetached(parts: ArchiveParts): Promise<void> {
  const { pool, schema, signal } = parts;
  const sql = archiveSql(schema);
  for (let round = 0; round < partitionsMax && !signal.aborted; round += 1) {
    const { rows } = await pool.query(sql.take, [leaseMs]);
    if (rows[0] === undefined) return;
    const taken = { name: String(rows[0]["name"]), token: String(rows[0]["token"]) };
    try {
      await archiveOne(parts, sql, taken);
    } catch (error) {
      const reason = describeError(error);
      await pool.query(sql.failed, [taken.name, taken.token, reason]).catch(() => undefined);
      parts.logger.warn("a partition could not be archived: it is kept, and offered again later", {
        partition: taken.name,
        error: reason,
      });
    }
  }
}

async function archiveOne(parts: ArchiveParts, sql: ArchiveSql, taken: Taken): Promise<void> {
  const { pool, patientPool, logger } = parts;
  const receipt = await runHook(parts, sql, taken);
  const { rows } = await patientPool.query(sql.archived, [
    taken.name,
    taken.token,
    receipt.count,
    receipt.checksum,
  ]);
  const facts = { partition: taken.name, count: receipt.count, checksum: receipt.checksum };
  switch (rows[0]?.["outcome"]) {
    case "dropped":
      logger.info("archived and dropped an old partition", facts);
      return;
    case "different": {
      const countHere = String(rows[0]["row_count"]);
      logger.error(
        "ARCHIVE_MISMATCH: the archive does not hold what the partition holds. It is kept, and offered again later",
        { ...facts, countHere, checksumHere: String(rows[0]["checksum"]) },
      );
      await pool.query(sql.failed, [taken.name, taken.token, "ARCHIVE_MISMATCH"]);
      return;
    }
    default:
      logger.warn("a partition was archived too slowly: another process has taken over", facts);
  }
}

/** Runs the hook under a lease that is renewed; rejects as soon as it is lost, whatever the hook does. */
async function runHook(
  parts: ArchiveParts,
  sql: ArchiveSql,
  taken: Taken,
): Promise<ArchiveReceipt> {
  const { archive, pool } = parts;
  const over = new AbortController();
  const signal = AbortSignal.any([parts.signal, over.signal]);
  const aborted = new Promise<never>((_resolve, reject) => {
    const say = (): void => reject(signal.reason as Error);
    if (signal.aborted) return say();
    signal.addEventListener("abort", say, { once: true });
  });
  const keeping = keepLease(parts, sql, taken, over);
  try {
    const hook = archive({
      name: taken.name,
      signal,
      lines: () => linesOf(pool, sql, taken, signal),
    });
    const receipt = await Promise.race([hook, aborted]);
    if (Number.isInteger(receipt.count) && typeof receipt.checksum === "string") return receipt;
    throw new TypeError("the archive hook must answer { count, checksum }");
  } finally {
    over.abort(new Error("the archive hook has ended"));
    aborted.catch(() => undefined);
    await keeping;
  }
}

async function keepLease(
  { pool, clock }: ArchiveParts,
  sql: ArchiveSql,
  taken: Taken,
  over: AbortController,
): Promise<void> {
  const startedAt = clock.monotonic();
  let leaseUntil = startedAt + leaseMs;
  for (;;) {
    await clock.sleep(leaseMs / 4, over.signal);
    if (over.signal.aborted) return;
    const askedAt = clock.monotonic();
    if (askedAt - startedAt > hookMsMax) over.abort(new Error("the archive hook took too long"));
    // A database that is away for a moment costs nothing; the lease is what counts.
    const answer = await pool
      .query(sql.renew, [taken.name, taken.token, leaseMs])
      .catch(() => undefined);
    if (answer?.rows.length === 1) leaseUntil = askedAt + leaseMs;
    else if (answer !== undefined || clock.monotonic() > leaseUntil) {
      over.abort(new Error("another process has taken over the partition"));
    }
  }
}

async function* linesOf(
  pool: PostgresPool,
  sql: ArchiveSql,
  { name }: Taken,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let last: readonly unknown[] = firstLine;
  for (;;) {
    signal.throwIfAborted();
    const { rows } = await pool.query(sql.lines, [name, ...last]);
    for (const row of rows) yield String(row["line"]);
    const end = rows.at(-1);
    if (end === undefined) return;
    last = [end["shard"], end["position"], end["id"]];
  }
}
