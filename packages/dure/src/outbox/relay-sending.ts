import { backoffMs } from "../core/backoff.ts";
import type { RetryPolicy } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { assert } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { keyOf } from "../core/message.ts";
import type { Message } from "../core/message.ts";
import type { DueMessage, Failure, ParkRequest } from "../core/parking.ts";
import type { PublishOutcome } from "../core/transport.ts";
import type { FailedAttempt, OutboxStore, Settlement, StoredMessage } from "./outbox-store.ts";
import { TopicBackoff } from "./topic-backoff.ts";

/** What sending is made of. */
export interface SendingParts {
  readonly source: string;
  readonly outbox: OutboxStore;
  readonly retry: RetryPolicy;
  readonly skips: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Sends, having looked at the lease. */
  readonly publish: (messages: readonly Message[]) => Promise<readonly PublishOutcome[]>;
}

/** Parked messages that one tick sends again, about. */
const dueMax = 1_000;
/** How often to look for them when nothing says that there are any: another process may have redriven one. */
const duePollMs = 500;

/** How many parked keys are remembered; above that the store is asked for the keys of each batch. */
const parkedKeysMax = 10_000;

/** One message of a publication, from the outbox or from what is parked. */
type Sent =
  | { readonly kind: "stored"; readonly stored: StoredMessage; readonly message: Message }
  | { readonly kind: "due"; readonly due: DueMessage; readonly message: Message };

/**
 * What a relay sends in a tick, and what it makes of the broker's answers. Only this relay parks messages of
 * its shards, so that it knows when to ask the store whether a key waits.
 *
 * It keeps nothing that matters: after a death the next owner goes on from what is parked.
 */
export class RelaySending {
  readonly #parts: SendingParts;
  readonly #topics: TopicBackoff;
  /** A superset of the parked keys, as far as it is complete: only we park messages of our shards. */
  #parkedKeys: Set<string> = new Set();
  /** All parked keys are in the set. */
  #isComplete = false;
  /** Keys may have gone from the store since they were read. */
  #isStale = true;
  #nextDueAt = -Infinity;

  constructor(parts: SendingParts) {
    this.#parts = parts;
    this.#topics = new TopicBackoff(parts.retry, parts.clock);
  }

  /** Shards were taken over, or the outcome of a record is unknown: what is parked has to be seen anew. */
  forget(): void {
    this.#isComplete = false;
    this.#isStale = true;
    this.#nextDueAt = -Infinity;
  }

  /** How long it may be until something that is known to be parked is due, in milliseconds. */
  get idleMs(): number {
    return this.#parkedKeys.size > 0 || !this.#isComplete
      ? Math.max(0, this.#nextDueAt - this.#parts.clock.monotonic())
      : Infinity;
  }

  /** Parked messages of these shards that are to be sent again now. */
  async due(shards: readonly number[]): Promise<readonly DueMessage[]> {
    const { outbox, source, clock } = this.#parts;
    if (clock.monotonic() < this.#nextDueAt) return [];
    const { closed, probed } = this.#topics.topics();
    const due = await outbox.due({
      source,
      shards,
      closedTopics: closed,
      probedTopics: probed,
      limit: dueMax,
    });
    for (const topic of probed) {
      // Nothing is left to ask it with: the next event will.
      if (due.every(({ message }) => message.topic !== topic)) this.#topics.recover(topic);
    }
    if (this.#isStale) await this.#readParkedKeys();
    const isCut = due.length >= dueMax / 10;
    this.#nextDueAt = Math.min(
      clock.monotonic() + (isCut ? 0 : duePollMs),
      this.#topics.nextProbeAt,
    );
    return due;
  }

  async #readParkedKeys(): Promise<void> {
    const { outbox, source } = this.#parts;
    const keys = await outbox.parkedKeys(source, parkedKeysMax + 1);
    this.#isComplete = keys.size <= parkedKeysMax;
    this.#parkedKeys = new Set(this.#isComplete ? keys : []);
    this.#isStale = false;
  }

  #remember(parked: readonly ParkRequest[]): void {
    for (const { message } of parked) {
      if (this.#isComplete) this.#parkedKeys.add(keyOf(message));
    }
    if (this.#parkedKeys.size <= parkedKeysMax) return;
    this.#parkedKeys = new Set();
    this.#isComplete = false;
  }

  /** Publishes what may go; says what is to be recorded of the rest. */
  async send(found: readonly StoredMessage[], due: readonly DueMessage[]): Promise<Settlement> {
    const waits = await this.#waiting(found);
    const sent: readonly Sent[] = [
      ...due.map((item) => ({ kind: "due", due: item, message: item.message }) as const),
      ...found
        .filter((stored) => !waits(stored))
        .map((stored) => ({ kind: "stored", stored, message: stored.message }) as const),
    ];
    const messages = sent.map((item) => item.message);
    const outcomes = messages.length === 0 ? [] : await this.#parts.publish(messages);
    assert(outcomes.length === sent.length, "a transport must answer for each message");
    const settled = this.#settle(sent, outcomes);
    this.#learnTopics(sent, outcomes);
    const parked = [
      ...settled.parked,
      ...found.filter(waits).map((stored) => this.#parkRequest(stored, undefined)),
    ];
    this.#remember(parked);
    this.#isStale ||= settled.resolved.length > 0 || !this.#isComplete;
    const retryInMs = Math.min(...settled.retriesInMs, settled.resolved.length > 0 ? 0 : Infinity);
    this.#nextDueAt = Math.min(this.#nextDueAt, this.#parts.clock.monotonic() + retryInMs);
    return { parked, resolved: settled.resolved, failed: settled.failed };
  }

  /** Which events cannot go now: their key has something parked, or their topic is out. */
  async #waiting(found: readonly StoredMessage[]): Promise<(stored: StoredMessage) => boolean> {
    const { outbox, source } = this.#parts;
    const open = found
      .map((stored) => stored.message)
      .filter((message) => !this.#topics.isOut(message.topic));
    const parkedKeys =
      this.#isComplete || open.length === 0
        ? this.#parkedKeys
        : await outbox.parkedAmong(source, open);
    const outTopics = new Set(
      found.map(({ message }) => message.topic).filter((topic) => this.#topics.isOut(topic)),
    );
    return ({ message }) => outTopics.has(message.topic) || parkedKeys.has(keyOf(message));
  }

  /** The first message of a key that was not accepted stops it; those behind it wait and have not failed. */
  #settle(
    sent: readonly Sent[],
    outcomes: readonly PublishOutcome[],
  ): Settlement & { readonly retriesInMs: readonly number[] } {
    const stopped = new Set<string>();
    const parked: ParkRequest[] = [];
    const resolved: string[] = [];
    const failed: FailedAttempt[] = [];
    const retriesInMs: number[] = [];
    for (const [index, item] of sent.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined || outcome.kind === "accepted") {
        if (item.kind === "due") resolved.push(item.due.id);
        continue;
      }
      const key = keyOf(item.message);
      const isFirst = !stopped.has(key);
      stopped.add(key);
      const attempts = item.kind === "due" ? item.due.attempts + 1 : 1;
      const failure =
        isFirst && outcome.kind === "refused" ? this.#failure(outcome, attempts) : undefined;
      // What is passed over leaves a tombstone, which is due at once.
      if (failure !== undefined) {
        retriesInMs.push(failure.isFinal && this.#parts.skips ? 0 : failure.retryInMs);
      }
      if (item.kind === "stored") parked.push(this.#parkRequest(item.stored, failure));
      else if (failure !== undefined && this.#isLostTombstone(item.message, failure)) {
        resolved.push(item.due.id);
      } else if (failure !== undefined) {
        failed.push({
          id: item.due.id,
          shard: item.due.shard,
          failure,
          skips: this.#parts.skips,
        });
      }
    }
    return { parked, resolved, failed, retriesInMs };
  }

  /** A tombstone that the broker refuses for good is let go: nobody could do anything about it. */
  #isLostTombstone({ id, topic, tombstone }: Message, failure: Failure): boolean {
    if (tombstone !== true || !failure.isFinal) return false;
    const { logger, source } = this.#parts;
    const facts = { source, topic, messageId: id, code: failure.code, error: failure.error };
    logger.warn(
      "the transport refuses the tombstone of an event that was given up: consumers will count a gap",
      facts,
    );
    return true;
  }

  #learnTopics(sent: readonly Sent[], outcomes: readonly PublishOutcome[]): void {
    const { logger, source } = this.#parts;
    const answers = Map.groupBy(outcomes.entries(), ([index]) => sent[index]?.message.topic ?? "");
    for (const [topic, own] of answers) {
      const [, reason] = own.find(([, { kind }]) => kind === "unavailable") ?? [];
      if (reason?.kind === "unavailable") {
        if (this.#topics.fail(topic)) {
          logger.warn(
            "a topic cannot take messages now: its events wait and are tried again, the other topics go on",
            { source, topic, code: reason.code, error: reason.error },
          );
        }
      } else if (this.#topics.recover(topic)) {
        logger.info("a topic takes messages again", { source, topic });
      }
    }
    this.#nextDueAt = Math.min(this.#nextDueAt, this.#topics.nextProbeAt);
  }

  #parkRequest(stored: StoredMessage, failure: Failure | undefined): ParkRequest {
    const { source, skips } = this.#parts;
    const { message, shard } = stored;
    return { side: "relay", consumer: source, message, shard, failure, skips };
  }

  #failure(outcome: Extract<PublishOutcome, { kind: "refused" }>, attempts: number): Failure {
    const { retry, clock } = this.#parts;
    return {
      code: outcome.code,
      error: outcome.error,
      isFinal: outcome.isPermanent || attempts >= retry.attempts,
      retryInMs: backoffMs(attempts, retry, clock),
    };
  }
}
