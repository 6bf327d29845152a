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
import { envelopeText } from "../core/envelope.ts";
import { messagesMsDefault, retentionProblems } from "./maintenance.ts";
import { checkSchema } from "./migrate.ts";
import { Notifications } from "./notifications.ts";
import { carePartitions } from "./partitions.ts";
import type { PartitionCare } from "./partitions.ts";
import {
  boundedPool,
  checkMs,
  checkSchemaName,
  queryWithin,
  quoteIdentifier,
  statementMsMaxDefault,
} from "./pool.ts";
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
  /** As of the store: a pool that goes past a pooler in transaction mode. @defaultValue `pool` */
  readonly listenPool?: PostgresPool;
  /** Milliseconds after which a statement is given up and its connection closed. @defaultValue 30000 */
  readonly statementMsMax?: number;
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
  const msMax = options.statementMsMax ?? statementMsMaxDefault;
  checkMs("postgresTransport: statementMsMax", msMax, 100);
  const pool = boundedPool(options.pool, msMax);
  const schemaName = checkSchemaName(options.schema ?? "dure");
  const schema = quoteIdentifier(schemaName);
  const sql = eventLogSql(schema);
  const clock = options.clock ?? systemClock;
  const logger = options.logger ?? silentLogger;
  const notifications = new Notifications({
    pool,
    listenPool: boundedPool(options.listenPool ?? options.pool, msMax),
    name: `log.${schemaName}`,
    clock,
    logger,
  });
  const wakers = new Set<(partitions: readonly number[]) => void>();

  return {
    name: "postgres",
    ...logCare({ pool, schema, logger }, options.retentionMs),
    check: () => checkSchema({ pool, schema: schemaName }),
    async publish(messages, { fences, signal }) {
      if (messages.length === 0) return [];
      const params = appendParams(messages, fences);
      const { rows } = await queryWithin(options.pool, sql.append, params, { msMax, signal }).catch(
        rethrowTranslated,
      );
      const partitions = partitionsOf(rows[0]);
      for (const wake of wakers) wake(partitions);
      notifications.tell(partitions.map(String));
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
      const wake = (news?: readonly number[]) => subscription.wake(news);
      wakers.add(wake);
      const stopListening = notifications.listen((subjects) => wake(subjects?.map(Number)));
      return subscription;
    },
    async lag() {
      return (await pool.query(sql.lag)).rows.map(lagFromRow);
    },
    close: () => notifications.close(),
  };
}

/** @throws CONFIGURATION_INVALID */
function logCare(
  parts: Pick<PartitionCare, "pool" | "schema" | "logger">,
  retentionMs: number = messagesMsDefault,
): Pick<EventLog, "retentionMs" | "maintain"> {
  const problem = retentionProblems("retentionMs", retentionMs)[0];
  if (problem !== undefined) {
    throw new DureError("CONFIGURATION_INVALID", `postgresTransport: ${problem}`);
  }
  const alerts = createAlerts(parts.logger);
  const care = { ...parts, keepMs: retentionMs, isArchived: false, alerts };
  return { retentionMs, maintain: () => carePartitions({ ...care, table: "log_message" }) };
}

/** Those in which a publication has put something. */
function partitionsOf(row: Readonly<Record<string, unknown>> | undefined): readonly number[] {
  return (row?.["partitions"] ?? []) as readonly number[]; // smallint[], as log_publish returns it
}

function lagFromRow(row: Readonly<Record<string, unknown>>): GroupLag {
  return {
    group: String(row["consumer"]),
    topic: String(row["topic"]),
    messages: Number(row["lag"]),
  };
}

function rethrowTranslated(error: unknown): never {
  throw translateSqlError(error);
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
