import { createWakeup } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import type { Clock } from "../core/clock.ts";
import { messageFromParts } from "../core/envelope.ts";
import { GroupMembership, groupTrouble } from "../core/group-membership.ts";
import type { PartitionClaim } from "../core/group-membership.ts";
import type { Logger } from "../core/logger.ts";
import type { Delivery, PartitionBatch, Subscription } from "../core/transport.ts";
import type { Trouble } from "../core/trouble.ts";
import { redisEval } from "./redis-client.ts";
import type { RedisClient } from "./redis-client.ts";
import { claimPartitions, releasePartitions } from "./stream-claims.ts";
import type { StreamNames } from "./stream-names.ts";
import { StreamsAcknowledging } from "./streams-acknowledging.ts";
import { read } from "./streams-lua.ts";

/** What a member of a group is made of. */
export interface StreamsSubscriptionParts {
  readonly client: RedisClient;
  readonly names: StreamNames;
  readonly group: string;
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly leaseMs: number;
  readonly retentionMs: number;
  readonly commandMsMax: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Makes the group, from the earliest message that is there. */
  readonly registerAgain: () => Promise<void>;
  readonly onClose: () => void;
}

/** News that was lost is found after this long. */
const lookEverywhereMs = 250;
/** What one look brings at most, so that neither Redis nor this process is held up. */
const lookBytesMax = 8 * 1024 * 1024;

/** One stream of a partition that is ours. */
interface OwnStream {
  readonly key: string;
  readonly partition: number;
  /** Where to go on among what is pending, or ">" when all of that has come. */
  from: string;
  /** Came and was not acknowledged, in order. */
  readonly open: { readonly id: string; readonly delivery: Delivery }[];
}

/**
 * One member of a consumer group. Partitions are owned under leases by Redis's clock, and only their owner is
 * given anything of them, by a script that looks; a new owner first claims what the one before had
 * taken and not finished, in order. What is acknowledged is told to Redis a little later: if the process dies in
 * between, it is delivered again.
 */
export class StreamsSubscription implements Subscription {
  readonly #parts: StreamsSubscriptionParts;
  readonly #wakeup: Wakeup = createWakeup();
  readonly #stop: AbortController = new AbortController();
  readonly #streams: Map<number, readonly OwnStream[]> = new Map();
  readonly #done: StreamsAcknowledging;
  readonly #news: Set<number> = new Set();
  /** By the position that deliveries carry here. */
  readonly #idByPosition: Map<number, { readonly stream: OwnStream; readonly id: string }> =
    new Map();
  readonly #membership: GroupMembership;
  readonly #reading: Trouble;
  #position = 0;
  #lookEverywhereAt = -Infinity;
  #memoryId: string | undefined;
  /** Raised when what is known of streams becomes void. */
  #generation = 0;
  /** The first stream to read from, in turn: a busy topic does not starve the others. */
  #turn = 0;

  constructor(parts: StreamsSubscriptionParts) {
    this.#parts = parts;
    this.#done = new StreamsAcknowledging({
      ...parts,
      signal: this.#stop.signal,
      trouble: groupTrouble(
        parts,
        "messages could not be acknowledged and are tried again",
        "messages are acknowledged again",
      ),
    });
    this.#reading = groupTrouble(parts, "a stream cannot be read", "a stream can be read again");
    const { client, names, group } = parts;
    this.#membership = new GroupMembership({
      ...parts,
      claim: (member) => this.#claim(member),
      release: (member) => releasePartitions(client, names, { group, ...member }),
      onChanged: (partition) => this.#drop(partition),
      onRenewed: () => {
        this.#done.tellSoon();
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

  async fetch({
    busy,
    maxMessages,
    signal,
  }: {
    readonly busy: ReadonlySet<number>;
    readonly maxMessages: number;
    readonly signal: AbortSignal;
  }): Promise<readonly PartitionBatch[]> {
    if (!this.#membership.isLive()) return [];
    await this.#adopt(busy);
    const free = [...this.#streams.keys()].filter((partition) => !busy.has(partition));
    await this.#readInto(this.#toRead(free, maxMessages), maxMessages, signal);
    // A heartbeat in between may have taken something away.
    return free
      .filter((partition) => this.#membership.owned.has(partition))
      .map((partition) => this.#batchOf(partition, maxMessages))
      .filter(({ deliveries }) => deliveries.length > 0);
  }

  /** Streams of which something may be new, and of whose partition less is here than is wanted. */
  #toRead(free: readonly number[], maxMessages: number): readonly OwnStream[] {
    const { clock } = this.#parts;
    if (clock.monotonic() >= this.#lookEverywhereAt) {
      this.#lookEverywhereAt = clock.monotonic() + lookEverywhereMs;
      for (const partition of this.#streams.keys()) this.#news.add(partition);
    }
    const wanted: OwnStream[] = [];
    for (const partition of free) {
      const streams = this.#streams.get(partition) ?? [];
      const here = streams.reduce((sum, { open }) => sum + open.length, 0);
      const isNew = this.#news.has(partition) || streams.some(({ from }) => from !== ">");
      if (!isNew || here >= maxMessages) continue;
      // Before the look: what comes while it is under way is news again.
      this.#news.delete(partition);
      wanted.push(...streams);
    }
    this.#turn += 1;
    const start = wanted.length === 0 ? 0 : this.#turn % wanted.length;
    return [...wanted.slice(start), ...wanted.slice(0, start)];
  }

  async #readInto(
    streams: readonly OwnStream[],
    maxMessages: number,
    signal: AbortSignal,
  ): Promise<void> {
    if (streams.length === 0) return;
    const { client, names, group, commandMsMax } = this.#parts;
    const keys = [
      names.members(group),
      names.owners(group),
      ...streams.map((stream) => stream.key),
    ];
    const places = streams.flatMap(({ partition, from }) => [`${partition}`, from]);
    const args = [group, this.#membership.memberId, `${maxMessages}`, `${lookBytesMax}`, ...places];
    const generation = this.#generation;
    try {
      const options = { timeoutMs: commandMsMax, signal };
      const reply = await redisEval(client, read, { keys, args }, options);
      if (generation !== this.#generation) {
        // A heartbeat came between and made us begin again: what was given is pending, and claimed.
        for (const stream of streams) this.#recover(stream);
        return;
      }
      await this.#take(streams, reply as readonly (readonly unknown[])[], maxMessages); // as the script returns it
    } catch (error) {
      // It may have been given to us all the same: then it is pending, and claimed.
      for (const stream of streams) this.#recover(stream);
      throw error;
    }
  }

  async #take(
    streams: readonly OwnStream[],
    results: readonly (readonly unknown[])[],
    maxMessages: number,
  ): Promise<void> {
    let isForgotten = false;
    for (const [index, stream] of streams.entries()) {
      const [next, flat] = results[index] ?? [];
      if (next === "NOGROUP") isForgotten = true;
      else if (flat === undefined && next !== undefined) this.#reading.failed(next);
      if (flat === undefined) {
        // Not ours any more, or no room was left: looked at again either way.
        this.#news.add(stream.partition);
        continue;
      }
      stream.from = String(next);
      const entries = flat as readonly string[]; // id, envelope, data, id, …
      for (let at = 0; at < entries.length; at += 3) {
        const [id = "", envelope, data] = entries.slice(at, at + 3);
        if (this.#done.has(stream.key, id)) continue;
        this.#position += 1;
        const delivery = { message: messageFromParts(envelope, data), position: this.#position };
        this.#idByPosition.set(this.#position, { stream, id });
        stream.open.push({ id, delivery });
      }
      if (entries.length >= 3 * maxMessages || next !== ">") this.#news.add(stream.partition);
    }
    if (isForgotten) await this.#registerAgain();
  }

  /** Reads everything of a stream again that is pending. */
  #recover(stream: OwnStream): void {
    for (const { delivery } of stream.open) this.#idByPosition.delete(delivery.position);
    stream.open.length = 0;
    stream.from = "0-0";
    this.#generation += 1;
    this.#news.add(stream.partition);
  }

  /** Redis has lost the group, or a stream with it: nothing that is there now has been read by it. */
  async #registerAgain(): Promise<void> {
    const { logger, group, registerAgain } = this.#parts;
    const code = "BROKER_DATA_LOST";
    logger.error("Redis has lost a consumer group, which begins again with what is there", {
      group,
      code,
    });
    await registerAgain();
    for (const stream of [...this.#streams.values()].flat()) this.#recover(stream);
    this.#done.forget();
  }

  #batchOf(partition: number, maxMessages: number): PartitionBatch {
    const streams = this.#streams.get(partition) ?? [];
    const start = streams.length === 0 ? 0 : this.#turn % streams.length;
    const inTurn = [...streams.slice(start), ...streams.slice(0, start)];
    const deliveries = inTurn.flatMap(({ open }) => open.map(({ delivery }) => delivery));
    return { partition, deliveries: deliveries.slice(0, maxMessages) };
  }

  /** Lets go of what is not ours any more and is not being worked on, and begins with what is new. */
  async #adopt(busy: ReadonlySet<number>): Promise<void> {
    await this.#membership.releaseSurplus(busy, () => this.#done.tell());
    for (const partition of this.#streams.keys()) {
      if (!this.#membership.owned.has(partition)) this.#drop(partition);
    }
    for (const partition of this.#membership.owned.keys()) {
      if (this.#streams.has(partition)) continue;
      const streams = this.#parts.topics.map((topic): OwnStream => {
        const key = this.#parts.names.stream(topic, partition);
        return { key, partition, from: "0-0", open: [] };
      });
      this.#streams.set(partition, streams);
      this.#news.add(partition);
    }
  }

  #drop(partition: number): void {
    for (const { open } of this.#streams.get(partition) ?? []) {
      for (const { delivery } of open) this.#idByPosition.delete(delivery.position);
    }
    this.#streams.delete(partition);
    this.#generation += 1;
  }

  acknowledge(batch: PartitionBatch, count: number): Promise<void> {
    for (const { position } of batch.deliveries.slice(0, count)) {
      const place = this.#idByPosition.get(position);
      // Of a partition that was lost meanwhile: its next owner has it delivered again, and drops it.
      if (place === undefined) continue;
      this.#idByPosition.delete(position);
      const { stream, id } = place;
      const index = stream.open.findIndex((each) => each.id === id);
      if (index >= 0) stream.open.splice(index, 1);
      this.#done.add(stream.key, id);
    }
    this.#done.tellSoon();
    return Promise.resolve();
  }

  async #claim(member: {
    readonly id: string;
    readonly isJoining: boolean;
  }): Promise<readonly PartitionClaim[] | undefined> {
    const { client, names, group, leaseMs, partitions } = this.#parts;
    const asked = { ...member, group, leaseMs, partitions };
    const { memoryId, claims } = await claimPartitions(client, names, asked);
    // An empty mark: Redis has forgotten everything, and nobody has written since.
    const isForgotten = memoryId === "" || (this.#memoryId ?? memoryId) !== memoryId;
    if (isForgotten) await this.#registerAgain();
    this.#memoryId = memoryId === "" ? undefined : memoryId;
    return claims;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#parts.onClose();
    await this.#membership.stop();
    try {
      await this.#done.close();
    } finally {
      await this.#membership.leave();
    }
  }
}
