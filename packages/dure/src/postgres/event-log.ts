import { createAlerts } from "../core/alerts.ts";
import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { silentLogger } from "../core/logger.ts";
import type { Logger } from "../core/logger.ts";
import type { Message } from "../core/message.ts";
import type { Fence, Transport } from "../core/transport.ts";
import { EventLogSubscription } from "./event-log-subscription.ts";
import { eventLogSql } from "./event-log-sql.ts";
import { envelopeText } from "./message-row.ts";
import { messagesMsDefault, retentionProblems } from "./maintenance.ts";
import { checkSchema } from "./migrate.ts";
import { Notifications } from "./notifications.ts";
import { carePartitions } from "./partitions.ts";
import type { PartitionCare } from "./partitions.ts";
import { checkSchemaName, quoteIdentifier } from "./pool.ts";
import type { PostgresPool } from "./pool.ts";
import { translateSqlError } from "./sqlstate.ts";

/** What {@link postgresTransport} takes. */
export interface PostgresTransportOptions {
  /** A pool on the database that holds the log: the service's own, or one that all services share. */
  readonly pool: PostgresPool;
  /** @defaultValue "dure" */
  readonly schema?: string;
  /** After this long without a sign of life a group member's partitions go to others. @defaultValue 5000 */
  readonly leaseMs?: number;
  /** Messages that every group has read are kept so long, in milliseconds. @defaultValue 7 days */
  readonly retentionMs?: number;
  readonly logger?: Logger;
  readonly clock?: Clock;
}

/** How far a consumer group is behind on one topic. */
export interface GroupLag {
  readonly group: string;
  readonly topic: string;
  readonly messages: number;
}

/** The event log: a {@link Transport}, and what can be asked of it. */
export interface EventLog extends Transport {
  readonly retentionMs: number;
  /** Makes the partitions of the coming days, and drops those that are old and read by every group. */
  maintain(signal?: AbortSignal): Promise<void>;
  /** Messages that each group has not acknowledged yet. Counts rows: for metrics, not for a hot path. */
  lag(): Promise<readonly GroupLag[]>;
}

/**
 * A transport that needs no broker: topics, partitions and consumer groups in PostgreSQL.
 *
 * Delivers at least once, in order per key (a key's messages share a partition, whose positions follow the
 * order of commits). A publication is one statement: durable as a whole or not there at all. A publisher
 * whose shard was taken over is refused. Groups are remembered: what a group has not read is kept until it
 * has, whatever the retention.
 * @throws CONFIGURATION_INVALID
 */
export function postgresTransport(options: PostgresTransportOptions): EventLog {
  const { pool } = options;
  const schemaName = checkSchemaName(options.schema ?? "dure");
  const schema = quoteIdentifier(schemaName);
  const sql = eventLogSql(schema);
  const clock = options.clock ?? systemClock;
  const logger = options.logger ?? silentLogger;
  const notifications = new Notifications({ pool, name: `log.${schemaName}`, clock, logger });
  const wakers = new Set<() => void>();
  const retentionMs = readRetentionMs(options.retentionMs);
  const alerts = createAlerts(logger);

  return {
    name: "postgres",
    retentionMs,
    maintain: () => maintainLog({ pool, schema, keepMs: retentionMs, logger, alerts }),
    check: () => checkSchema({ pool, schema: schemaName }),
    async publish(messages, { fences }) {
      if (messages.length === 0) return [];
      await pool.query(sql.append, appendParams(messages, fences)).catch((error: unknown) => {
        throw translateSqlError(error);
      });
      for (const wake of wakers) wake();
      notifications.tell();
      return messages.map(() => ({ kind: "accepted" }) as const);
    },
    async subscribe({ group, topics, from }) {
      await pool.query(sql.register, [group, topics, from === "latest"]);
      const { rows } = await pool.query(sql.partitionCount);
      const subscription = new EventLogSubscription({
        pool,
        schema,
        group,
        topics,
        partitions: Number(rows[0]?.["partition_count"]),
        leaseMs: options.leaseMs ?? 5_000,
        clock,
        logger,
        onClose: () => {
          wakers.delete(wake);
          stopListening();
        },
      });
      const wake = (): void => subscription.wake();
      wakers.add(wake);
      const stopListening = notifications.listen(wake);
      return subscription;
    },
    async lag() {
      const { rows } = await pool.query(sql.lag);
      return rows.map((row) => ({
        group: String(row["consumer"]),
        topic: String(row["topic"]),
        messages: Number(row["lag"]),
      }));
    },
    close: () => notifications.close(),
  };
}

function readRetentionMs(retentionMs: number = messagesMsDefault): number {
  const problem = retentionProblems("retentionMs", retentionMs)[0];
  if (problem === undefined) return retentionMs;
  throw new DureError("CONFIGURATION_INVALID", `postgresTransport: ${problem}`);
}

function maintainLog(care: Omit<PartitionCare, "table" | "isArchived">): Promise<void> {
  return carePartitions({ ...care, table: "log_message", isArchived: false });
}

function appendParams(messages: readonly Message[], fences: readonly Fence[]): readonly unknown[] {
  return [
    messages.map((message) => message.topic),
    messages.map((message) => message.key),
    messages.map(envelopeText),
    messages.map((message) => message.data),
    fences.map((fence) => fence.source),
    fences.map((fence) => fence.shard),
    fences.map((fence) => fence.epoch),
  ];
}
