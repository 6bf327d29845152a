import { createWakeup } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import { backoffMs } from "../core/backoff.ts";
import type { RetryPolicy } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { describeError } from "../core/errors.ts";
import type { Faults } from "../core/faults.ts";
import type { Logger } from "../core/logger.ts";
import type { PartitionBatch, Subscription } from "../core/transport.ts";
import { createTrouble } from "../core/trouble.ts";
import type { Trouble } from "../core/trouble.ts";
import type { Inbox } from "./inbox.ts";

/** What a consumer group may be told; all of it has a default. */
export interface ConsumerOptions {
  /** Messages that share a transaction. @defaultValue 100 */
  readonly batchSizeMax?: number;
  /** Partitions that are worked on at the same time; each takes a connection. @defaultValue 4 */
  readonly concurrency?: number;
  /** The shortest wait between looks. @defaultValue 5 */
  readonly pollMsMin?: number;
  /** The longest wait between looks. @defaultValue 1000 */
  readonly pollMsMax?: number;
  readonly retry?: Partial<RetryPolicy>;
}

/** Consumer options with the defaults filled in. */
export type ConsumerSettings = Required<Omit<ConsumerOptions, "retry">> & {
  readonly retry: RetryPolicy;
};

/** A failure is over when nothing has failed for so long. */
const settleMs = 5_000;

/** Batches of several partitions share a transaction while together they are expected to take no longer. */
const togetherMsMax = 20;

/** What a consumer is made of. */
export interface ConsumerParts {
  readonly group: string;
  readonly inbox: Inbox;
  readonly subscribe: () => Promise<Subscription>;
  readonly settings: ConsumerSettings;
  readonly clock: Clock;
  readonly faults: Faults;
  readonly logger: Logger;
}

/**
 * Reads one group's messages and hands them to its inbox: partitions side by side, within a partition one
 * batch after the other. A batch is acknowledged when it is committed, so what was read and not committed
 * when the process dies is delivered again, and the inbox drops what had been.
 */
export class Consumer {
  readonly #parts: ConsumerParts;
  readonly #busy: Set<number> = new Set();
  /** What is being handled: each takes a connection. */
  readonly #works: Set<Promise<void>> = new Set();
  /** Partitions of which this process has survived a batch; the first of each is handled carefully. */
  readonly #trusted: Set<number> = new Set();
  readonly #finished: Wakeup = createWakeup();
  /** Fetched and not begun, in turn: what is read once is not read again because no place was free. */
  readonly #waiting: PartitionBatch[] = [];
  /** What a message has cost of late, with its share of the transaction. Unknown at first. */
  #messageMs = Infinity;
  /** One for all partitions: they fail together. */
  readonly #handling: Trouble;

  constructor(parts: ConsumerParts) {
    this.#parts = parts;
    this.#handling = this.#trouble(
      "consumer could not handle a batch and tries again",
      "consumer handles again",
    );
  }

  /** Handles messages until the signal aborts; then finishes what is under way and leaves the group. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#read(signal), this.#retryParked(signal)]);
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { clock, subscribe } = this.#parts;
    const trouble = this.#trouble("consumer cannot read and tries again", "consumer reads again");
    let subscription: Subscription | undefined;
    let failures = 0;
    while (!signal.aborted) {
      try {
        subscription ??= await subscribe();
        await this.#readUntilStopped(subscription, signal, () => {
          failures = 0;
          trouble.succeeded();
        });
      } catch (error) {
        failures += 1;
        if (!signal.aborted) trouble.failed(error);
        await clock.sleep(backoffMs(failures, { baseMs: 50, maxMs: 5_000 }, clock), signal);
      }
    }
    await Promise.all(this.#works);
    await subscription
      ?.close()
      .catch((error: unknown) => this.#warn("consumer could not leave its group", error));
  }

  async #readUntilStopped(
    subscription: Subscription,
    signal: AbortSignal,
    onRead: () => void,
  ): Promise<void> {
    const { settings } = this.#parts;
    let pauseMs = settings.pollMsMin;
    while (!signal.aborted) {
      if (this.#works.size + this.#waiting.length < settings.concurrency) {
        const busy = new Set([...this.#busy, ...this.#waiting.map((it) => it.partition)]);
        const batches = await subscription.fetch({
          busy,
          maxMessages: settings.batchSizeMax,
          signal,
        });
        if (batches.length > 0) pauseMs = settings.pollMsMin;
        // Behind those that wait: else a few busy partitions would starve the others.
        this.#waiting.push(...batches);
      }
      onRead();
      while (this.#works.size < settings.concurrency && this.#waiting.length > 0) {
        this.#begin(subscription, this.#takeTogether(), signal);
      }
      const isFull = this.#works.size >= settings.concurrency;
      const waited = isFull
        ? await this.#finished.wait(settings.pollMsMax, signal)
        : await this.#waitForNews(subscription, pauseMs, signal);
      pauseMs = waited === "woken" ? settings.pollMsMin : Math.min(pauseMs * 2, settings.pollMsMax);
    }
  }

  /** News from the transport, or a partition that has become free. */
  async #waitForNews(
    subscription: Subscription,
    pauseMs: number,
    signal: AbortSignal,
  ): Promise<"woken" | "timeout"> {
    // By hand: AbortSignal.any would leave a trace in the long-lived signal at every look.
    const done = new AbortController();
    const end = (): void => done.abort();
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
    try {
      return await Promise.race([
        subscription.wait(pauseMs, done.signal),
        this.#finished.wait(pauseMs, done.signal),
      ]);
    } finally {
      end();
      signal.removeEventListener("abort", end);
    }
  }

  /**
   * The next batch, and with it those of other partitions that fit into a moment: a transaction for each would
   * cost far more than what they do, and where handlers take their time nobody waits behind another partition.
   */
  #takeTogether(): readonly PartitionBatch[] {
    const countMax = Math.min(this.#parts.settings.batchSizeMax, togetherMsMax / this.#messageMs);
    const taken: PartitionBatch[] = [];
    let count = 0;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      count += next.deliveries.length;
      if (taken.length > 0 && count > countMax) break;
      taken.push(next);
      this.#waiting.shift();
    }
    return taken;
  }

  #begin(
    subscription: Subscription,
    batches: readonly PartitionBatch[],
    signal: AbortSignal,
  ): void {
    const work = this.#handle(subscription, batches, signal).finally(() => {
      for (const { partition } of batches) this.#busy.delete(partition);
      this.#works.delete(work);
      this.#finished.wake();
    });
    for (const { partition } of batches) this.#busy.add(partition);
    this.#works.add(work);
  }

  /** Handles batches until they are done or we are stopped: an unreachable database costs no attempts. */
  async #handle(
    subscription: Subscription,
    batches: readonly PartitionBatch[],
    signal: AbortSignal,
  ): Promise<void> {
    const { inbox, clock, faults } = this.#parts;
    const messages = batches.flatMap((batch) => batch.deliveries.map(({ message }) => message));
    for (let failures = 0; !signal.aborted;) {
      try {
        const startedAt = clock.monotonic();
        const isCareful = batches.some(({ partition }) => !this.#trusted.has(partition));
        await inbox.handle(messages, { isCareful });
        this.#learn((clock.monotonic() - startedAt) / Math.max(1, messages.length));
        this.#handling.succeeded();
        for (const batch of batches) {
          this.#trusted.add(batch.partition);
          await subscription.acknowledge(batch, batch.deliveries.length);
        }
        await faults.hit("inbox.after-acknowledge");
        return;
      } catch (error) {
        failures += 1;
        this.#handling.failed(error);
        await clock.sleep(backoffMs(failures, { baseMs: 50, maxMs: 5_000 }, clock), signal);
      }
    }
  }

  #learn(messageMs: number): void {
    const isFirst = this.#messageMs === Infinity;
    this.#messageMs = isFirst ? messageMs : this.#messageMs + (messageMs - this.#messageMs) / 8;
  }

  async #retryParked(signal: AbortSignal): Promise<void> {
    const { inbox, clock } = this.#parts;
    const trouble = this.#trouble(
      "consumer cannot look at its parked messages",
      "consumer looks at its parked messages again",
    );
    let failures = 0;
    while (!signal.aborted) {
      let pauseMs = 200;
      try {
        const { tried, nextInMs } = await inbox.retryDue(signal);
        pauseMs = tried > 0 ? 0 : nextInMs;
        failures = 0;
        trouble.succeeded();
      } catch (error) {
        failures += 1;
        if (!signal.aborted) trouble.failed(error);
        pauseMs = backoffMs(failures, { baseMs: 200, maxMs: 5_000 }, clock) + 50;
      }
      if (pauseMs > 0) await inbox.parkedNews.wait(pauseMs, signal);
    }
  }

  #trouble(message: string, messageOver: string): Trouble {
    const { clock, logger, group } = this.#parts;
    return createTrouble({
      clock,
      settleMs,
      say: (error) => this.#warn(message, error),
      sayOver: () => logger.info(messageOver, { group }),
    });
  }

  #warn(message: string, error: unknown): void {
    this.#parts.logger.warn(message, { group: this.#parts.group, error: describeError(error) });
  }
}
