import { describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { maintenanceSql, pruneBatch } from "./maintenance-sql.ts";
import type { MaintenanceSql } from "./maintenance-sql.ts";
import type { PostgresPool } from "./pool.ts";

/** How long things are kept, in milliseconds. */
export interface Retention {
  /** Published events, and messages of the event log that every group has read. @defaultValue 7 days */
  readonly messagesMs?: number;
  /** Dedup records: at least as long as a message can still be delivered again. @defaultValue 30 days */
  readonly inboxMs?: number;
}

const dayMs = 86_400_000;
/** Bounds one run; the next goes on. */
const pruneRoundsMax = 2_000;

/**
 * Makes the partitions of the coming days and drops those of the past that nobody needs. Safe to run in
 * many processes at a time, and to be killed at any line; it never waits long for a lock.
 */
export async function maintain(options: {
  readonly pool: PostgresPool;
  /** Quoted. */
  readonly schema: string;
  readonly retention: Retention | undefined;
  readonly logger: Logger;
}): Promise<void> {
  const { pool, logger } = options;
  const sql = maintenanceSql(options.schema);
  const keepMs = options.retention?.messagesMs ?? 7 * dayMs;
  const { rows: days } = await pool.query(sql.days);
  const tables = [
    { name: "outbox_message", isNeeded: sql.outboxIsNeeded },
    { name: "log_message", isNeeded: sql.logIsNeeded },
  ];
  for (const { name, isNeeded } of tables) {
    for (const { day } of days) await pool.query(sql.create, [name, day]);
    const { rows: expired } = await pool.query(sql.expired, [name, keepMs]);
    for (const partition of expired) {
      const { rows } = await pool.query(sql.drop, [name, partition["name"], isNeeded]);
      const isGone = rows[0]?.["is_gone"] === true;
      logger.info(isGone ? "dropped an old partition" : "an old partition is still needed", {
        partition: String(partition["name"]),
      });
    }
  }
  await pruneInbox(pool, sql, options.retention?.inboxMs ?? 30 * dayMs).catch((error: unknown) => {
    logger.warn("old dedup records could not be removed", { error: describeError(error) });
  });
}

/** In small statements, until nothing old is left: one batch an hour would fall behind for ever. */
async function pruneInbox(pool: PostgresPool, sql: MaintenanceSql, keepMs: number): Promise<void> {
  for (let round = 0; round < pruneRoundsMax; round += 1) {
    const { rowCount } = await pool.query(sql.pruneInbox, [keepMs]);
    if ((rowCount ?? 0) < pruneBatch) return;
  }
}
