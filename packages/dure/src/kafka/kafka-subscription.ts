import { createWakeup } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import { backoffMs } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type {
  Delivery,
  PartitionBatch,
  SubscribeOptions,
  Subscription,
} from "../core/transport.ts";
import { createTrouble } from "../core/trouble.ts";
import type { Trouble } from "../core/trouble.ts";
import type { KafkaAssignment } from "./clients.ts";
import type { RecordPlaces } from "./dead-letter-topic.ts";
import { KafkaGroup } from "./kafka-group.ts";
import type { KafkaGroupParts } from "./kafka-group.ts";
import { explain, hasApiId } from "./kafka-error.ts";
import { bounds, nameOf, startsOf } from "./kafka-offsets.ts";
import { readFrom } from "./kafka-reading.ts";
import type { FetchLimits, OwnedPartition } from "./kafka-reading.ts";
import { PartitionBuffer } from "./partition-buffer.ts";

/** What a subscription is made of. */
export interface KafkaSubscriptionParts extends Omit<KafkaGroupParts, "onRevoked" | "onAssigned"> {
  readonly from: SubscribeOptions["from"];
  readonly limits: FetchLimits;
  readonly places: RecordPlaces;
  /** Of the topics, those that are retry topics, and of which. */
  readonly retried: ReadonlyMap<string, string>;
  /** A partition of which so many messages are here is not read any further. */
  readonly bufferedMax: number;
  readonly clock: Clock;
  readonly onClose: () => void;
}

/** Offsets of several batches are committed together: they only save a repetition. */
const commitPauseMs = 50;

/**
 * One member of a consumer group of Kafka. Partitions are read ahead into buffers with a limit each: at the
 * limit a partition is left out of the fetches (paused) until there is room again. Offsets follow effects:
 * what is committed is the lowest that is not acknowledged.
 */
export class KafkaSubscription implements Subscription {
  readonly #parts: KafkaSubscriptionParts;
  readonly #wakeup: Wakeup = createWakeup();
  readonly #acknowledged: Wakeup = createWakeup();
  readonly #stop: AbortController = new AbortController();
  readonly #trouble: Trouble;
  readonly #numbers: Map<string, number> = new Map();
  #owned: Map<string, OwnedPartition> = new Map();
  #group: KafkaGroup | undefined;
  /** Brokers that are being asked. */
  readonly #asked: Map<number, Promise<void>> = new Map();
  #looking: Promise<void> = Promise.resolve();
  #adopting: Promise<void> = Promise.resolve();
  #committing: Promise<void> | undefined;
  #failures = 0;
  #readError: unknown;
  /** When the next message of a retry topic may be given. */
  #dueAt: number = Infinity;

  constructor(parts: KafkaSubscriptionParts) {
    this.#parts = parts;
    const { clock, logger, group } = parts;
    this.#trouble = createTrouble({
      clock,
      settleMs: 5_000,
      say: (error) => {
        const facts = { group, error: explain(error) };
        logger.warn("offsets could not be committed and are tried again", facts);
      },
      sayOver: () => logger.info("offsets are committed again", { group }),
    });
  }

  /** Joins the group; resolves when it is known where each of the assigned partitions begins. */
  async start(): Promise<void> {
    const group = new KafkaGroup({
      ...this.#parts,
      onRevoked: (kept) => this.#handOver(kept),
      onAssigned: () => {
        if (this.#group === group) void this.#adoptSoon();
      },
    });
    this.#group = group;
    try {
      await group.join();
      await this.#adoptSoon();
      if (this.#readError !== undefined) {
        throw unavailable("it is not known where the partitions begin", this.#readError);
      }
    } catch (error) {
      this.#group = undefined;
      await group.leave();
      throw error;
    }
  }

  wait(timeoutMs: number, signal: AbortSignal): Promise<"woken" | "timeout"> {
    const untilDueMs = Math.max(1, this.#dueAt - this.#parts.clock.now());
    return this.#wakeup.wait(Math.min(timeoutMs, untilDueMs), signal);
  }

  /** @throws BROKER_UNAVAILABLE while Kafka does not answer */
  async fetch(options: {
    readonly busy: ReadonlySet<number>;
    readonly maxMessages: number;
    readonly signal: AbortSignal;
  }): Promise<readonly PartitionBatch[]> {
    await this.#revive();
    const error = this.#readError;
    this.#readError = undefined;
    if (error !== undefined) throw unavailable("Kafka could not be read", error);
    const batches: PartitionBatch[] = [];
    this.#dueAt = Infinity;
    for (const owned of this.#owned.values()) {
      if (owned.isLeaving || options.busy.has(owned.number)) continue;
      const found = owned.buffer.peek(options.maxMessages);
      const deliveries = owned.retries === undefined ? found : this.#untilDue(found);
      if (deliveries.length === 0) continue;
      owned.isGiven = true;
      batches.push({ partition: owned.number, deliveries });
    }
    this.#lookSoon();
    return batches;
  }

  /** A retry topic is read up to the first message that is not due: those behind it are due later. */
  #untilDue(found: readonly Delivery[]): readonly Delivery[] {
    const { places, clock } = this.#parts;
    const now = clock.now();
    const dueAt = ({ message }: Delivery): number => places.get(message)?.dueAt ?? 0;
    const early = found.findIndex((delivery) => dueAt(delivery) > now);
    const first = found[early];
    if (first === undefined) return found;
    this.#dueAt = Math.min(this.#dueAt, dueAt(first));
    return found.slice(0, early);
  }

  acknowledge(batch: PartitionBatch, count: number): Promise<void> {
    const done = batch.deliveries.slice(0, count);
    for (const owned of this.#owned.values()) {
      if (owned.number !== batch.partition) continue;
      owned.buffer.acknowledge(done.map(({ position }) => position));
      owned.isGiven = count < batch.deliveries.length;
      if (owned.buffer.size > 0) this.#wakeup.wake();
    }
    this.#acknowledged.wake();
    this.#lookSoon();
    this.#committing ??= this.#commitUntilDone();
    return Promise.resolve();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#parts.onClose();
    await this.#committing;
    await this.#adopting;
    const group = this.#group;
    this.#group = undefined;
    if (group?.canCommit === true) {
      await this.#commit(group).catch((error: unknown) => this.#trouble.failed(error));
    }
    this.#owned.clear();
    await group?.leave();
    await this.#looking;
    await Promise.all(this.#asked.values());
  }

  /** How far behind this member is, by topic. */
  lag(): ReadonlyMap<string, number> {
    const behind = new Map<string, number>();
    for (const { topic, buffer, end } of this.#owned.values()) {
      const own = end > buffer.lowest ? Number(end - buffer.lowest) : 0;
      behind.set(topic, (behind.get(topic) ?? 0) + own);
    }
    return behind;
  }

  /** A member whose life is over comes back as another. */
  async #revive(): Promise<void> {
    const failure = this.#group === undefined ? new Error("not joined") : this.#group.failure;
    if (failure === undefined || this.#stop.signal.aborted) return;
    const { group, logger } = this.#parts;
    const facts = { group, error: explain(failure) };
    if (this.#group !== undefined) logger.warn("consumer joins its group anew", facts);
    const former = this.#group;
    this.#group = undefined;
    this.#owned = new Map();
    await former?.leave();
    await this.start().catch((error: unknown) => {
      throw unavailable(`group "${group}" could not be joined`, error);
    });
  }

  /** What is not kept goes to others: finished and committed first, where that is soon. */
  async #handOver(kept: readonly KafkaAssignment[]): Promise<void> {
    const { clock, settings } = this.#parts;
    const keptNames = new Set(
      kept.flatMap(({ topic, partitions }) => partitions.map((each) => nameOf(topic, each))),
    );
    const leaving = [...this.#owned].filter(([name]) => !keptNames.has(name));
    if (leaving.length === 0) return;
    for (const [, owned] of leaving) owned.isLeaving = true;
    // Nothing is kept: as a rule the membership is lost, and others have the partitions already.
    const until = clock.monotonic() + (kept.length === 0 ? 0 : settings.handOverMs);
    while (leaving.some(([, { isGiven }]) => isGiven) && clock.monotonic() < until) {
      await this.#acknowledged.wait(until - clock.monotonic(), this.#stop.signal);
      if (this.#stop.signal.aborted) break;
    }
    const group = this.#group;
    const over = new AbortController();
    if (group !== undefined && kept.length > 0) {
      const timeout = clock.sleep(settings.handOverMs, over.signal);
      const committed = this.#commit(group).catch((error: unknown) => this.#trouble.failed(error));
      await Promise.race([committed, timeout]);
      over.abort();
    }
    for (const [name, owned] of leaving) {
      if (this.#owned.get(name) === owned) this.#owned.delete(name);
    }
  }

  /** One after the other: an assignment may come while the former is taken in. Never rejects. */
  #adoptSoon(): Promise<void> {
    this.#adopting = this.#adopting.then(async () => {
      try {
        await this.#adopt();
        this.#lookSoon();
      } catch (error) {
        this.#readError = error;
        this.#wakeup.wake();
        await this.#pause();
        if (this.#group !== undefined && !this.#stop.signal.aborted) void this.#adoptSoon();
      }
    });
    return this.#adopting;
  }

  async #adopt(): Promise<void> {
    const group = this.#group;
    if (group === undefined) return;
    const assigned = new Map(
      group.assignments.flatMap(({ topic, partitions }) =>
        partitions.map((partition) => [nameOf(topic, partition), { topic, partition }] as const),
      ),
    );
    for (const name of this.#owned.keys()) if (!assigned.has(name)) this.#owned.delete(name);
    const added = [...assigned].filter(([name]) => !this.#owned.has(name));
    if (added.length === 0) return;
    const places = added.map(([, place]) => place);
    const { from, retried } = this.#parts;
    // What waits in a retry topic is this group's own: never passed over.
    const [own, retries] = [false, true].map((isRetry) =>
      places.filter(({ topic }) => retried.has(topic) === isRetry),
    );
    const starts = new Map([
      ...(await startsOf(group, own ?? [], from)),
      ...(await startsOf(group, retries ?? [], "earliest")),
    ]);
    for (const [name, { topic, partition }] of added) {
      const start = starts.get(name);
      if (start === undefined || this.#group !== group) continue;
      const number = this.#numbers.get(name) ?? this.#numbers.size;
      this.#numbers.set(name, number);
      const buffer = new PartitionBuffer(start.offset, start.isCommitted);
      const retries = retried.get(topic);
      const fresh = { isLeaving: false, isGiven: false, end: start.offset, retries };
      this.#owned.set(name, { number, topic, partition, buffer, ...fresh });
    }
    // A group that is new begins here for good, also if it dies before it has read anything.
    await this.#commit(group);
  }

  async #commit(group: KafkaGroup): Promise<void> {
    const found = [...this.#owned.values()].flatMap(({ topic, partition, buffer }) => {
      const offset = buffer.uncommitted;
      return offset === undefined ? [] : [{ buffer, topic, partition, offset }];
    });
    if (found.length === 0) return;
    await group.commit(
      found.map(({ topic, partition, offset }) => ({ topic, partition, offset, leaderEpoch: -1 })),
    );
    for (const { buffer, offset } of found) buffer.committed(offset);
    this.#trouble.succeeded();
  }

  /** Not awaited by those who acknowledge: the effects are committed, the offset only saves a repetition. */
  async #commitUntilDone(): Promise<void> {
    const { clock } = this.#parts;
    const { signal } = this.#stop;
    const isOpen = (): boolean =>
      [...this.#owned.values()].some(({ buffer }) => buffer.uncommitted !== undefined);
    while (!signal.aborted && isOpen()) {
      const group = this.#group;
      try {
        if (group?.canCommit === true) await this.#commit(group);
      } catch (error) {
        this.#trouble.failed(error);
      }
      await clock.sleep(commitPauseMs, signal);
    }
    this.#committing = undefined;
  }

  /** Starts asking the brokers that are not being asked, if there is room for what they have. */
  #lookSoon(): void {
    if (this.#stop.signal.aborted) return;
    this.#looking = this.#looking.then(() => this.#look());
  }

  async #look(): Promise<void> {
    const { bufferedMax, topics } = this.#parts;
    const group = this.#group;
    const open = [...this.#owned.values()].filter(
      ({ isLeaving, buffer }) => !isLeaving && buffer.size < bufferedMax,
    );
    if (group === undefined || open.length === 0 || this.#stop.signal.aborted) return;
    try {
      const metadata = await group.reader.metadata({ topics: [...topics] });
      const known = open.flatMap((owned) => {
        const topic = metadata.topics.get(owned.topic);
        const leader = topic?.partitions[owned.partition]?.leader;
        return topic === undefined || leader === undefined
          ? []
          : [{ owned, topicId: topic.id, leader }];
      });
      for (const [node, own] of Map.groupBy(known, ({ leader }) => leader)) {
        if (!this.#asked.has(node)) this.#asked.set(node, this.#ask(group, node, own));
      }
    } catch (error) {
      await this.#readFailed(group, error);
    }
  }

  async #ask(
    group: KafkaGroup,
    node: number,
    own: readonly { readonly owned: OwnedPartition; readonly topicId: string }[],
  ): Promise<void> {
    try {
      await readFrom(group.reader, node, own, this.#parts);
      this.#failures = 0;
      if (own.some(({ owned }) => owned.buffer.size > 0)) this.#wakeup.wake();
    } catch (error) {
      if (hasApiId(error, "OFFSET_OUT_OF_RANGE")) {
        await this.#skipRemoved(
          group,
          own.map(({ owned }) => owned),
        ).catch((reason: unknown) => this.#readFailed(group, reason));
      } else await this.#readFailed(group, error);
    } finally {
      this.#asked.delete(node);
      this.#lookSoon();
    }
  }

  /** The broker has removed what was to be read: by its retention, or with the topic. Never silent. */
  async #skipRemoved(group: KafkaGroup, owned: readonly OwnedPartition[]): Promise<void> {
    const first = await bounds(group.reader, owned, "earliest");
    const last = await bounds(group.reader, owned, "latest");
    for (const { topic, partition, buffer } of owned) {
      const from = first.get(topic)?.[partition] ?? 0n;
      const to = last.get(topic)?.[partition] ?? 0n;
      if (buffer.next >= from && buffer.next <= to) continue;
      const facts = {
        group: this.#parts.group,
        topic,
        partition,
        lost: Number(from - buffer.next),
      };
      this.#parts.logger.error(
        "Kafka has removed messages that this group has not read: it goes on at the first that is there. Publish them again from the outbox's retention, and keep the topic longer",
        facts,
      );
      buffer.skipTo(from);
    }
  }

  async #readFailed(group: KafkaGroup, error: unknown): Promise<void> {
    if (this.#group !== group) return;
    this.#readError = error;
    this.#wakeup.wake();
    await this.#pause();
    this.#lookSoon();
  }

  async #pause(): Promise<void> {
    const { clock } = this.#parts;
    this.#failures += 1;
    const ms = backoffMs(this.#failures, { baseMs: 100, maxMs: 2_000 }, clock) + 20;
    await clock.sleep(ms, this.#stop.signal);
  }
}

function unavailable(what: string, cause: unknown): DureError {
  return new DureError("BROKER_UNAVAILABLE", `${what}: ${explain(cause)}`, { cause });
}
