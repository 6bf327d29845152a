import { createWakeup, settledWithin } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import { backoffMs } from "../core/backoff.ts";
import type { RetryPolicy } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { AnyEventDefinition } from "../core/event.ts";
import type { Faults } from "../core/faults.ts";
import { keyOf } from "../core/message.ts";
import type { Message, MessageContext } from "../core/message.ts";
import type { DueMessage, Failure, ParkingStore, ParkRequest } from "../core/parking.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { RetryTopics } from "../core/transport.ts";
import { copyDeadLetter } from "./dead-letter-copy.ts";
import type { DeadLetterCopies } from "./dead-letter-copy.ts";
import { delayOf, failureOf } from "./failed-attempt.ts";
import type { InboxStore } from "./inbox-store.ts";
import { readData, versionUnsupported } from "./message-data.ts";
import { OrderCheck } from "./order-check.ts";
import type { OrderCounts } from "./order-check.ts";

/** A message as its handler gets it: the data is parsed and has passed the definition's schema. */
export interface ReceivedMessage<Data = unknown> extends Omit<Message, "data"> {
  readonly data: Data;
}

/** What to do with a message that has failed for good: hold its key until someone looks, or go on without it. */
export type PoisonPolicy = "park-key" | "skip";

/** Where a failed message waits: parked in the database, its key behind it; or in retry topics, its key going on. */
export type RetryPlace = "park" | "topics";

/** One registered handler. */
export interface Subscriber {
  readonly definition: AnyEventDefinition;
  readonly whenPoisoned: PoisonPolicy;
  /** Where a failed message waits for its next attempt. @defaultValue "park" */
  readonly retry?: RetryPlace | undefined;
  readonly handle: (message: ReceivedMessage, tx: ServiceTransaction) => Promise<void> | void;
  /** Called once in each transaction, when all of its messages have been handled. */
  readonly finish?: ((tx: ServiceTransaction) => Promise<void>) | undefined;
}

/** Runs work in a transaction of the service whose events carry the given context. */
export type RunTransaction = <Result>(
  work: (tx: ServiceTransaction, raw: TransactionHandle) => Promise<Result>,
  context: () => MessageContext | undefined,
) => Promise<Result>;

/** What an inbox is made of. */
export interface InboxParts {
  readonly group: string;
  readonly subscribers: readonly Subscriber[];
  /** The types that the service knows. Given: another type on a subscribed topic is a dead letter at once. */
  readonly knownTypes: ReadonlySet<string> | undefined;
  readonly store: InboxStore;
  readonly parking: ParkingStore;
  readonly transaction: RunTransaction;
  /** Says that an error is the database's state and not the message's fault. */
  readonly isUnavailable: (error: unknown) => boolean;
  readonly retry: RetryPolicy;
  readonly copies?: DeadLetterCopies | undefined;
  readonly retryTopics?: RetryTopics | undefined;
  readonly clock: Clock;
  readonly faults: Faults;
}

const dueMax = 50;
/** A message that was begun so often, and with which the process died each time, is not begun again. */
const startedMax = 5;
/** Messages that waited behind a parked one and are handled together. */
const runMax = 50;
/** How many keys are remembered whose messages are handled one by one. */
const singlyMax = 10_000;
/** How long a careful attempt waits to be the only one. */
const aloneMsMax = 1_000;

/**
 * One consumer group's messages, each handled once in this database: the dedup record, the handler's
 * writes and the events that it emits commit together. A message that fails is parked with those of its
 * key behind it and tried again from there, so that no other key waits.
 */
export class Inbox {
  /** Woken when a message was parked in this process. */
  readonly parkedNews: Wakeup = createWakeup();
  readonly #parts: InboxParts;
  readonly #byType: ReadonlyMap<string, readonly Subscriber[]>;
  readonly #order: OrderCheck;
  /** Begun by this process and not ended. */
  readonly #begun: Map<string, number> = new Map();
  #lastAttempt: Promise<void> = Promise.resolve();
  /** Parked keys whose messages are handled one by one: some of them failed, or ended a process, together. */
  readonly #singly: Set<string> = new Set();

  constructor(parts: InboxParts) {
    this.#parts = parts;
    this.#byType = Map.groupBy(parts.subscribers, (subscriber) => subscriber.definition.type);
    this.#order = new OrderCheck(parts.clock.now());
  }

  get orderCounts(): OrderCounts {
    return this.#order.counts;
  }

  /**
   * Resolves when every message is handled, was handled before, or is parked. Rejects when the database
   * could not be reached or the outcome of a COMMIT is unknown: then the same batch is given again.
   */
  async handle(
    batch: readonly Message[],
    options?: { readonly isCareful: boolean },
  ): Promise<void> {
    if (options?.isCareful === true) return this.#handleCarefully(batch);
    try {
      await this.#handleTogether(batch);
    } catch (error) {
      if (this.#parts.isUnavailable(error)) throw error;
      if (batch.length === 1 && batch[0] !== undefined) return this.#park(batch[0], error);
      for (const message of batch) await this.handle([message]);
    }
  }

  /**
   * After a start nobody knows whether the former process died of one of these. So the batch is written down
   * as begun before it is handled. If some of it was begun before, a process has died with it: then each
   * is begun by itself, and one at a time in the whole process: what is still begun after the next crash has
   * caused it, and its neighbours are not blamed. (Beside a slow one others begin after a second.)
   */
  async #handleCarefully(batch: readonly Message[]): Promise<void> {
    const { store, group } = this.#parts;
    const ids = batch.map((message) => message.id);
    if (ids.every((id) => !this.#begun.has(id)) && (await store.beginBatch(group, ids))) {
      for (const id of ids) this.#begun.set(id, 1);
    }
    // Begun together in this life; one that is begun alone after a crash counts more than one.
    if (ids.every((id) => this.#begun.get(id) === 1)) {
      await this.handle(batch);
      await store.endAttempts(group, ids);
      for (const id of ids) this.#begun.delete(id);
      return;
    }
    for (const message of batch) {
      await this.#attempt(message, async (started) => {
        if (started > startedMax) await this.#park(message, handlerDied(message));
        else await this.handle([message]);
      });
    }
  }

  async #attempt(message: Message, work: (started: number) => Promise<void>): Promise<void> {
    const { store, group } = this.#parts;
    const before = this.#lastAttempt;
    const turn = Promise.withResolvers<void>();
    this.#lastAttempt = turn.promise;
    // A handler that takes its time must not hold up the other partitions.
    await settledWithin(before, aloneMsMax);
    try {
      // Once in the life of this process: a database that comes and goes is no reason to blame the message.
      const started = this.#begun.get(message.id) ?? (await store.beginAttempt(group, message.id));
      this.#begun.set(message.id, started);
      await work(started);
      await store.endAttempts(group, [message.id]);
      this.#begun.delete(message.id);
    } finally {
      turn.resolve();
    }
  }

  async #handleTogether(batch: readonly Message[]): Promise<void> {
    const { group, store, parking, faults } = this.#parts;
    let current: Message | undefined;
    const received = await this.#parts.transaction(
      async (tx, raw) => {
        const answer = await store.receive(raw, group, batch);
        const seen = new Set<string>();
        const held: ParkRequest[] = [];
        for (const message of batch) {
          // A tombstone is for the order check only; its record leaves the event itself fresh.
          if (message.tombstone === true) continue;
          if (!answer.fresh.has(message.id) || seen.has(message.id)) continue;
          seen.add(message.id);
          current = message;
          if (answer.parkedKeys.has(keyOf(message))) {
            held.push(this.#parkRequest(message, undefined));
          } else await this.#run(message, tx);
        }
        current = undefined;
        await this.#finish(tx);
        await parking.park(raw, held);
        await faults.hit("inbox.before-commit");
        return answer;
      },
      () => contextOf(current),
    );
    await faults.hit("inbox.after-commit");
    // Counted after the commit: a batch that is tried again is counted once.
    this.#order.record(batch, received);
  }

  async #run(message: Message, tx: ServiceTransaction): Promise<void> {
    const subscribers = this.#byType.get(message.type);
    if (subscribers === undefined) {
      if (this.#parts.knownTypes?.has(message.type) !== false) return;
      throw new DureError(
        "UNKNOWN_MESSAGE_TYPE",
        `message ${message.id} has type "${message.type}", which group "${this.#parts.group}" does not know`,
      );
    }
    const readers = subscribers.filter(({ definition }) => definition.version === message.version);
    if (readers.length === 0) {
      throw versionUnsupported(
        message,
        subscribers.map(({ definition }) => definition),
      );
    }
    for (const subscriber of readers) {
      const data = await readData(message, subscriber.definition);
      await this.#parts.faults.hit("inbox.before-handler");
      await subscriber.handle({ ...message, data }, tx);
    }
  }

  async #finish(tx: ServiceTransaction): Promise<void> {
    const finishing = new Set(this.#parts.subscribers.map(({ finish }) => finish));
    for (const finish of finishing) await finish?.(tx);
  }

  /** Tries again what is due. Says how long it may be until something else is. */
  async retryDue(signal: AbortSignal): Promise<{ tried: number; nextInMs: number }> {
    const { parking, group } = this.#parts;
    const due = await parking.due("consumer", group, dueMax);
    let tried = 0;
    for (const item of due) {
      if (signal.aborted) break;
      await this.#attempt(item.message, async (started) => {
        if (started > startedMax) await this.#giveUp(item);
        else tried += (await this.#retryWithThoseBehind(item, started)) ? 1 : 0;
      });
    }
    return { tried, nextInMs: due.length > 0 ? 50 : 500 };
  }

  async #giveUp(item: DueMessage): Promise<void> {
    const failure = await this.#failure(item.message, handlerDied(item.message), item.attempts + 1);
    return this.#parts.parking.fail(item.id, failure, this.#skips(item.message));
  }

  /**
   * Those that waited behind a message and have not failed share its transaction, as a batch would. Where
   * one of them fails, or a process has ended with them (only the first was begun, and is begun again), the
   * messages of the key are handled one by one, so that the guilty one is found.
   */
  async #retryWithThoseBehind({ id, message }: DueMessage, started: number): Promise<boolean> {
    const key = keyOf(message);
    if (this.#singly.size >= singlyMax) this.#singly.clear();
    if (started > 1) this.#singly.add(key);
    const isDone = await this.#retry(id, this.#singly.has(key) ? 0 : runMax);
    if (isDone !== "together") return isDone;
    this.#singly.add(key);
    return (await this.#retry(id, 0)) === true;
  }

  /** Whether the message was tried; "together": it or one of those behind it failed, and nothing was recorded. */
  async #retry(id: string, behind: number): Promise<boolean | "together"> {
    const { parking } = this.#parts;
    let run: readonly DueMessage[] = [];
    let current: Message | undefined;
    try {
      await this.#parts.transaction(
        async (tx, raw) => {
          run = await parking.take(raw, id, { behind });
          for (const { message } of run) {
            current = message;
            await this.#run(message, tx);
          }
          current = undefined;
          await this.#finish(tx);
          const ids = run.map((item) => item.id);
          if (ids.length > 0) await parking.resolve(raw, ids);
        },
        () => contextOf(current),
      );
    } catch (error) {
      const [first, ...others] = run;
      if (first === undefined || this.#parts.isUnavailable(error)) throw error;
      if (others.length > 0) return "together";
      const failure = await this.#failure(first.message, error, first.attempts + 1);
      await parking.fail(id, failure, this.#skips(first.message));
      // The guilty one is found: those behind it may go together again.
      this.#singly.delete(keyOf(first.message));
    }
    return run.length > 0;
  }

  /**
   * A first attempt has failed, or one from a retry topic. There it is sent first and then, in a commit of its
   * own, put down as a tombstone: those that follow it find what they link to, and it stays new itself.
   */
  async #park(message: Message, error: unknown): Promise<void> {
    const { store, parking, group, retryTopics, faults } = this.#parts;
    const topics = this.#retriesByTopics(message) ? retryTopics : undefined;
    const failures = (message.failures ?? 0) + 1;
    const failure = await this.#failure(message, error, failures, topics);
    const goesOn = topics !== undefined && !failure.isFinal;
    if (goesOn) {
      const { code, error: why, retryInMs: delayMs } = failure;
      await topics.send({ message, group, code, error: why, attempts: failures, delayMs });
      await faults.hit("inbox.after-retry-sent");
    }
    const received = await this.#parts.transaction(
      async (_tx, raw) => {
        const record = goesOn ? { ...message, tombstone: true } : message;
        const answer = await store.receive(raw, group, [record]);
        if (!goesOn && answer.fresh.has(message.id)) {
          await parking.park(raw, [this.#parkRequest(message, failure)]);
        }
        return answer;
      },
      () => undefined,
    );
    if (!goesOn) {
      this.#order.record([message], received);
      this.parkedNews.wake();
    } else if (message.failures === undefined) {
      // As it came, in its place; from a retry topic it says nothing about order.
      this.#order.record([message], { ...received, fresh: received.tombstoned });
    }
  }

  #retriesByTopics(message: Message): boolean {
    const subscribers = this.#byType.get(message.type) ?? [];
    return subscribers.length > 0 && subscribers.every(({ retry }) => retry === "topics");
  }

  #parkRequest(message: Message, failure: Failure | undefined): ParkRequest {
    return {
      side: "consumer",
      consumer: this.#parts.group,
      message,
      failure,
      skips: this.#skips(message),
    };
  }

  /** A key is held if any of the type's handlers wants it held; an unknown type holds it. */
  #skips(message: Message): boolean {
    const subscribers = this.#byType.get(message.type) ?? [];
    return (
      subscribers.length > 0 &&
      subscribers.every((subscriber) => subscriber.whenPoisoned === "skip")
    );
  }

  #failure(
    message: Message,
    error: unknown,
    failures: number,
    topics?: RetryTopics,
  ): Promise<Failure> {
    const { retry, clock, copies, group } = this.#parts;
    const failure =
      topics === undefined
        ? failureOf(error, failures, {
            attempts: retry.attempts,
            waitMs: backoffMs(failures, retry, clock),
          })
        : failureOf(error, failures, delayOf(topics.delaysMs, failures));
    return copyDeadLetter(copies, message, failure, { group, attempts: failures });
  }
}

function handlerDied(message: Message): DureError {
  return new DureError(
    "HANDLER_DIED",
    `the process died ${startedMax} times while it handled message ${message.id} of type "${message.type}": it is not handled again by itself`,
  );
}

function contextOf(cause: Message | undefined): MessageContext | undefined {
  if (cause === undefined) return undefined;
  return {
    correlationId: cause.correlationId ?? cause.id,
    causationId: cause.id,
    traceparent: cause.traceparent,
    tracestate: cause.tracestate,
  };
}
