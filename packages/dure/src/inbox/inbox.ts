import { createWakeup, settledWithin } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import { backoffMs } from "../core/backoff.ts";
import type { RetryPolicy } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { DureError, describeError, isDureError } from "../core/errors.ts";
import { validateEvent } from "../core/event.ts";
import type { AnyEventDefinition } from "../core/event.ts";
import type { Faults } from "../core/faults.ts";
import { keyOf } from "../core/message.ts";
import type { Message, MessageContext } from "../core/message.ts";
import type { DueMessage, Failure, ParkingStore } from "../core/parking.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { InboxStore } from "./inbox-store.ts";
import { OrderCheck } from "./order-check.ts";
import type { OrderCounts } from "./order-check.ts";

/** A message as its handler gets it: the data is parsed and has passed the definition's schema. */
export interface ReceivedMessage<Data = unknown> extends Omit<Message, "data"> {
  readonly data: Data;
}

/** What to do with a message that has failed for good: hold its key until someone looks, or go on without it. */
export type PoisonPolicy = "park-key" | "skip";

/** One registered handler. */
export interface Subscriber {
  readonly definition: AnyEventDefinition;
  readonly whenPoisoned: PoisonPolicy;
  readonly handle: (message: ReceivedMessage, tx: ServiceTransaction) => Promise<void> | void;
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
  readonly clock: Clock;
  readonly faults: Faults;
}

const dueMax = 50;
/** A message that was begun so often, and with which the process died each time, is not begun again. */
const startedMax = 5;
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
      await this.#attempt(message, async (isDeadly) => {
        if (isDeadly) await this.#park(message, handlerDied(message));
        else await this.handle([message]);
      });
    }
  }

  async #attempt(message: Message, work: (isDeadly: boolean) => Promise<void>): Promise<void> {
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
      await work(started > startedMax);
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
        for (const message of batch) {
          if (!answer.fresh.has(message.id) || seen.has(message.id)) continue;
          seen.add(message.id);
          current = message;
          if (answer.parkedKeys.has(keyOf(message))) {
            await parking.park(raw, this.#parkRequest(message, undefined));
          } else await this.#run(message, tx);
        }
        current = undefined;
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
    if (readers.length === 0) throw versionUnsupported(message, subscribers);
    for (const subscriber of readers) {
      const data = await readData(message, subscriber.definition);
      await this.#parts.faults.hit("inbox.before-handler");
      await subscriber.handle({ ...message, data }, tx);
    }
  }

  /** Tries again what is due. Says how long it may be until something else is. */
  async retryDue(signal: AbortSignal): Promise<{ tried: number; nextInMs: number }> {
    const { parking, group } = this.#parts;
    const due = await parking.due("consumer", group, dueMax);
    let tried = 0;
    for (const item of due) {
      if (signal.aborted) break;
      await this.#attempt(item.message, async (isDeadly) => {
        if (isDeadly) await this.#giveUp(item);
        else tried += (await this.#retry(item.id)) ? 1 : 0;
      });
    }
    return { tried, nextInMs: due.length > 0 ? 50 : 500 };
  }

  #giveUp(item: DueMessage): Promise<void> {
    const failure = this.#failure(handlerDied(item.message), item.attempts + 1);
    return this.#parts.parking.fail(item.id, failure, this.#skips(item.message));
  }

  async #retry(id: string): Promise<boolean> {
    const { parking } = this.#parts;
    let taken: DueMessage | undefined;
    try {
      await this.#parts.transaction(
        async (tx, raw) => {
          taken = await parking.take(raw, id);
          if (taken === undefined) return;
          await this.#run(taken.message, tx);
          await parking.resolve(raw, id);
        },
        () => contextOf(taken?.message),
      );
    } catch (error) {
      if (taken === undefined || this.#parts.isUnavailable(error)) throw error;
      const failure = this.#failure(error, taken.attempts + 1);
      await parking.fail(id, failure, this.#skips(taken.message));
    }
    return taken !== undefined;
  }

  async #park(message: Message, error: unknown): Promise<void> {
    const { store, parking, group } = this.#parts;
    await this.#parts.transaction(
      async (_tx, raw) => {
        const { fresh } = await store.receive(raw, group, [message]);
        if (!fresh.has(message.id)) return;
        await parking.park(raw, this.#parkRequest(message, this.#failure(error, 1)));
      },
      () => undefined,
    );
    this.parkedNews.wake();
  }

  #parkRequest(
    message: Message,
    failure: Failure | undefined,
  ): Parameters<ParkingStore["park"]>[1] {
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

  #failure(error: unknown, failures: number): Failure {
    const { retry, clock } = this.#parts;
    const isPermanent = permanentCodes.some((code) => isDureError(error, code));
    const retryAfterMs = (error as { readonly retryAfterMs?: unknown } | null)?.retryAfterMs;
    return {
      code: isDureError(error) ? error.code : codeOf(error),
      error: describeError(error),
      isFinal: isPermanent || failures >= retry.attempts,
      retryInMs: Math.max(
        backoffMs(failures, retry, clock),
        typeof retryAfterMs === "number" ? retryAfterMs : 0,
      ),
    };
  }
}

/** Trying again cannot help. */
const permanentCodes = [
  "PERMANENT",
  "HANDLER_DIED",
  "UNKNOWN_MESSAGE_TYPE",
  "MESSAGE_UNREADABLE",
  "MESSAGE_VERSION_UNSUPPORTED",
] as const;

function handlerDied(message: Message): DureError {
  return new DureError(
    "HANDLER_DIED",
    `the process died ${startedMax} times while it handled message ${message.id} of type "${message.type}": it is not handled again by itself`,
  );
}

function codeOf(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === "string" ? code.slice(0, 64) : "HANDLER_FAILED";
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

async function readData(message: Message, definition: AnyEventDefinition): Promise<unknown> {
  let data: unknown;
  try {
    data = JSON.parse(message.data);
  } catch (error) {
    throw unreadable(message, "its data is not JSON", error);
  }
  try {
    return await validateEvent(definition, data);
  } catch (error) {
    throw unreadable(message, describeError(error), error);
  }
}

function versionUnsupported(message: Message, subscribers: readonly Subscriber[]): DureError {
  const versions = subscribers.map(({ definition }) => definition.version).join(", ");
  return new DureError(
    "MESSAGE_VERSION_UNSUPPORTED",
    `message ${message.id} is "${message.type}" version ${message.version}, the handlers read version ${versions}`,
  );
}

function unreadable(message: Message, what: string, cause: unknown): DureError {
  return new DureError(
    "MESSAGE_UNREADABLE",
    `message ${message.id} of type "${message.type}" cannot be read: ${what}`,
    { cause },
  );
}
