import { createWakeup } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import type { Clock } from "../core/clock.ts";
import { GroupMembership, groupTrouble } from "../core/group-membership.ts";
import type { PartitionClaim } from "../core/group-membership.ts";
import type { Logger } from "../core/logger.ts";
import type { PartitionBatch, Subscription } from "../core/transport.ts";
import type { Trouble } from "../core/trouble.ts";
import { postgresClaims } from "./claims.ts";
import type { Claims } from "./claims.ts";
import { claimsSql } from "./claims-sql.ts";
import { eventLogSql } from "./event-log-sql.ts";
import type { EventLogSql } from "./event-log-sql.ts";
import { messageFromParts } from "../core/envelope.ts";
import type { PostgresPool } from "./pool.ts";

/** What a member of a group is made of. */
export interface EventLogSubscriptionParts {
  readonly pool: PostgresPool;
  /** Quoted. */
  readonly schema: string;
  readonly group: string;
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onClose: () => void;
}

/** Offsets of several batches are written together: they only save a repetition. */
const commitPauseMs = 20;
/** News that was lost is found after this long. */
const lookEverywhereMs = 250;
const commitsPerPrune = 500;

/**
 * One member of a consumer group of the event log. Partitions are claimed under leases. Offsets follow
 * effects: they are written after `acknowledge`, coalesced; one that is lost means that messages come
 * again.
 */
export class EventLogSubscription implements Subscription {
  readonly #parts: EventLogSubscriptionParts;
  readonly #sql: EventLogSql;
  readonly #claims: Claims;
  readonly #wakeup: Wakeup = createWakeup();
  readonly #stop: AbortController = new AbortController();
  /** Acknowledged positions by partition and topic, for the partitions that are ours. */
  readonly #acknowledged: Map<number, Map<string, number>> = new Map();
  readonly #uncommitted: Map<string, { topic: string; partition: number; position: number }> =
    new Map();
  readonly #membership: GroupMembership;
  readonly #committingTrouble: Trouble;
  #committing: Promise<void> = Promise.resolve();
  #isCommitting = false;
  /** Partitions in which there may be something that was not looked at. */
  readonly #news: Set<number> = new Set();
  #lookEverywhereAt = -Infinity;
  /** Partitions of which something was given and not acknowledged: it is given again. Cut: there is more behind it. */
  readonly #given: Map<number, { readonly isCut: boolean }> = new Map();
  #commits = 0;

  constructor(parts: EventLogSubscriptionParts) {
    this.#parts = parts;
    this.#sql = eventLogSql(parts.schema);
    this.#claims = postgresClaims(parts.pool, claimsSql(parts.schema));
    this.#committingTrouble = groupTrouble(
      parts,
      "offsets could not be written and are tried again",
      "offsets are written again",
    );
    this.#membership = new GroupMembership({
      ...parts,
      claim: (member) => this.#claim(member),
      release: ({ id, partitions, isLeaving }) =>
        this.#claims.release({ scope: this.#scope, id, slots: partitions, isLeaving }),
      onChanged: (partition) => this.#acknowledged.delete(partition),
      onRenewed: () => {
        if (this.#uncommitted.size > 0) this.#commitSoon();
        this.wake();
      },
    });
  }

  /** There may be something to fetch: in these partitions, or in any. */
  wake(partitions: Iterable<number> = this.#membership.owned.keys()): void {
    for (const partition of partitions) this.#news.add(partition);
    this.#wakeup.wake();
  }

  wait(timeoutMs: number, signal: AbortSignal): Promise<"woken" | "timeout"> {
    return this.#wakeup.wait(timeoutMs, signal);
  }

  /** Where to look: where there is news, and now and then everywhere, because news may be lost. */
  #placesToLook(busy: ReadonlySet<number>): readonly number[] {
    const { clock } = this.#parts;
    if (clock.monotonic() >= this.#lookEverywhereAt) {
      this.#lookEverywhereAt = clock.monotonic() + lookEverywhereMs;
      for (const partition of this.#acknowledged.keys()) this.#news.add(partition);
    }
    const places = [...this.#acknowledged.keys()].filter(
      (partition) =>
        !busy.has(partition) && (this.#news.has(partition) || this.#given.has(partition)),
    );
    // Before the look: what comes while it is under way is news again.
    for (const partition of places) this.#news.delete(partition);
    return places;
  }

  async fetch(options: {
    readonly busy: ReadonlySet<number>;
    readonly maxMessages: number;
    readonly signal: AbortSignal;
  }): Promise<readonly PartitionBatch[]> {
    if (!this.#membership.isLive()) return [];
    await this.#adopt(options.busy);
    const places = this.#placesToLook(options.busy);
    const cursors = places.flatMap((partition) =>
      [...(this.#acknowledged.get(partition) ?? [])].map(([topic, position]) => ({
        partition,
        topic,
        position,
      })),
    );
    if (cursors.length === 0) return [];
    const rows = await this.#read(cursors, options.maxMessages).catch((error: unknown) => {
      for (const partition of places) this.#news.add(partition);
      throw error;
    });
    const byPartition = Map.groupBy(rows, (row) => Number(row["partition"]));
    for (const [partition, found] of byPartition) {
      this.#given.set(partition, { isCut: found.length >= options.maxMessages });
    }
    return [...byPartition].map(([partition, found]) => ({
      partition,
      deliveries: found.map((row) => ({
        position: Number(row["position"]),
        message: messageFromParts(row["envelope"], row["data"]),
      })),
    }));
  }

  async #read(
    cursors: readonly { partition: number; topic: string; position: number }[],
    maxMessages: number,
  ): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const { rows } = await this.#parts.pool.query(this.#sql.read, [
      cursors.map((cursor) => cursor.topic),
      cursors.map((cursor) => cursor.partition),
      cursors.map((cursor) => cursor.position),
      maxMessages,
    ]);
    return rows;
  }

  /** Lets go of what is not ours any more and is not being worked on, and begins with what is new. */
  async #adopt(busy: ReadonlySet<number>): Promise<void> {
    const { pool, group, topics } = this.#parts;
    await this.#membership.releaseSurplus(busy, () => this.#flush());
    for (const partition of this.#acknowledged.keys()) {
      if (!this.#membership.owned.has(partition)) this.#acknowledged.delete(partition);
    }
    const added = [...this.#membership.owned.keys()].filter(
      (partition) => !this.#acknowledged.has(partition),
    );
    if (added.length === 0) return;
    const { rows } = await pool.query(this.#sql.offsets, [group, topics, added]);
    for (const partition of added) {
      const own = rows.filter((row) => Number(row["partition"]) === partition);
      this.#acknowledged.set(
        partition,
        new Map(own.map((row) => [String(row["topic"]), Number(row["position"] ?? 0)])),
      );
      this.#news.add(partition);
    }
  }

  acknowledge(batch: PartitionBatch, count: number): Promise<void> {
    const positions = this.#acknowledged.get(batch.partition);
    for (const { message, position } of batch.deliveries.slice(0, count)) {
      const { topic } = message;
      positions?.set(topic, Math.max(positions.get(topic) ?? 0, position));
      this.#uncommitted.set(`${batch.partition}/${topic}`, {
        topic,
        partition: batch.partition,
        position,
      });
    }
    if (count >= batch.deliveries.length) {
      if (this.#given.get(batch.partition)?.isCut === true) this.#news.add(batch.partition);
      this.#given.delete(batch.partition);
    }
    this.#commitSoon();
    return Promise.resolve();
  }

  /** Not awaited: the effects are committed, the offset only saves a repetition. */
  #commitSoon(): void {
    if (this.#isCommitting) return;
    this.#isCommitting = true;
    this.#committing = this.#flush();
  }

  async #flush(): Promise<void> {
    const { pool, group, clock } = this.#parts;
    while (this.#uncommitted.size > 0) {
      const offsets = [...this.#uncommitted.values()];
      this.#uncommitted.clear();
      const columns = [
        offsets.map((offset) => offset.topic),
        offsets.map((offset) => offset.partition),
        offsets.map((offset) => offset.position),
      ];
      try {
        await pool.query(this.#sql.commit, [group, ...columns]);
        this.#committingTrouble.succeeded();
        this.#commits += 1;
        if (this.#commits % commitsPerPrune === 0) await pool.query(this.#sql.prune, [group]);
        await clock.sleep(commitPauseMs, this.#stop.signal);
      } catch (error) {
        // Kept for the next heartbeat, unless a later one has come meanwhile: offsets only grow.
        for (const offset of offsets) {
          const name = `${offset.partition}/${offset.topic}`;
          if (!this.#uncommitted.has(name)) this.#uncommitted.set(name, offset);
        }
        this.#committingTrouble.failed(error);
        break;
      }
    }
    this.#isCommitting = false;
  }

  get #scope(): string {
    return `log:${this.#parts.group}`;
  }

  async #claim(member: {
    readonly id: string;
    readonly isJoining: boolean;
  }): Promise<readonly PartitionClaim[] | undefined> {
    const { leaseMs, partitions: slots } = this.#parts;
    const claims = await this.#claims.heartbeat({ ...member, scope: this.#scope, leaseMs, slots });
    return claims?.map(({ slot, ...claim }) => ({ partition: slot, ...claim }));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#parts.onClose();
    await this.#membership.stop();
    await this.#committing;
    await this.#flush();
    await this.#membership.leave();
  }
}
