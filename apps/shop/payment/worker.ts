import { backoffMs } from "dure";
import type { Clock, RetryPolicy } from "dure";
import type { Logger } from "pino";
import { createBell } from "./bell.ts";
import type { Bell } from "./bell.ts";
import type { ClaimedPayment } from "./claimed-payment.ts";
import { transitionAfter } from "./domain.ts";
import type { PaymentRecord } from "./payment-record.ts";
import type { ProviderClient } from "./provider-client.ts";

/** What the provider is asked about. */
export interface Asked {
  readonly orderId: string;
  /** Of a step's operation. */
  readonly key?: string;
}

/** The points at which a test holds an attempt, or ends it by a rejection. Production has none. */
export interface PaymentFaults {
  /** The payment is claimed or the step begun, and the provider has not been asked. */
  beforeProvider?(asked: Asked): Promise<void>;
  /** The provider has answered (or not), and nothing is recorded yet. */
  afterProvider?(asked: Asked): Promise<void>;
}

/** What the worker goes by. */
export interface WorkerSettings {
  /** Since a payment's creation; then the provider has been away for too long. */
  readonly giveUpAfterMs: number;
  /** Requests to the provider at once, per process. */
  readonly inFlightMax: number;
  /** How long an instance has a payment to itself: longer than a request and its recording take. */
  readonly claimMs: number;
  /** Waits between attempts: full jitter under a ceiling that doubles from `baseMs` to `maxMs`. */
  readonly retry: Pick<RetryPolicy, "baseMs" | "maxMs">;
}

/** The provider, for who need not care for permits. */
export interface PaidProvider {
  perform(payment: ClaimedPayment): ReturnType<ProviderClient["perform"]>;
}

/** What a worker is made of. */
export interface WorkerParts {
  readonly record: PaymentRecord;
  readonly provider: PaidProvider;
  readonly settings: WorkerSettings;
  readonly clock: Pick<Clock, "random" | "sleep">;
  readonly logger: Logger;
  readonly faults: PaymentFaults;
}

const pollMsMin = 2;
const pollMsMax = 1_000;

/**
 * Brings the payments that wait for the provider to their end: claims, asks without a transaction,
 * records. Any number of instances may run at once. What it holds in memory it can lose: a payment
 * whose claim runs out is asked about again, with the same key.
 */
export class PaymentWorker {
  readonly #parts: WorkerParts;
  readonly #bell: Bell;
  readonly #inFlight: Set<Promise<void>> = new Set();

  constructor(parts: WorkerParts) {
    this.#parts = parts;
    this.#bell = createBell(parts.clock);
  }

  /**
   * Says that a payment is, or will in a moment be, due. A handler cannot know when its transaction
   * commits, so looks follow one another quickly at first and ever more slowly then: the row is found
   * within about as long again as its commit took.
   */
  wake(): void {
    this.#bell.ring();
  }

  /**
   * Works until the signal aborts, then finishes the requests under way: a timeout ends each. Never
   * rejects.
   */
  async run(signal: AbortSignal): Promise<void> {
    const onAbort = (): void => this.#bell.ring();
    signal.addEventListener("abort", onAbort, { once: true });
    let pauseMs = pollMsMin;
    let failures = 0;
    while (!signal.aborted) {
      try {
        const hasFound = await this.#fill();
        failures = 0;
        if (hasFound) pauseMs = pollMsMin;
        const wasRung = await this.#bell.wait(await this.#boundedPause(pauseMs));
        pauseMs = wasRung ? pollMsMin : Math.min(pauseMs * 2, pollMsMax);
      } catch (error) {
        failures += 1;
        if (failures === 1) this.#parts.logger.warn({ err: error }, "payments cannot be read");
        const { clock, settings } = this.#parts;
        await clock.sleep(backoffMs(failures, settings.retry, clock), signal);
      }
    }
    signal.removeEventListener("abort", onAbort);
    await Promise.all(this.#inFlight);
  }

  /** Begins as many attempts as there are free places. */
  async #fill(): Promise<boolean> {
    const { record, settings } = this.#parts;
    const free = settings.inFlightMax - this.#inFlight.size;
    // With all places taken, the end of an attempt rings.
    if (free === 0) return false;
    const claimed = await record.claim(free, settings.claimMs);
    for (const payment of claimed) {
      const attempt = this.#attempt(payment).finally(() => {
        this.#inFlight.delete(attempt);
        this.#bell.ring();
      });
      this.#inFlight.add(attempt);
    }
    return claimed.length > 0;
  }

  /** A long pause ends when the next retry, or the next claim of an instance that died, is due. */
  async #boundedPause(pauseMs: number): Promise<number> {
    if (pauseMs < 50 || this.#inFlight.size >= this.#parts.settings.inFlightMax) return pauseMs;
    const dueInMs = await this.#parts.record.nextDueInMs();
    return dueInMs === undefined ? pauseMs : Math.max(pollMsMin, Math.min(pauseMs, dueInMs));
  }

  /** Never rejects: an attempt that could not be recorded is found again when its claim has run out. */
  async #attempt(payment: ClaimedPayment): Promise<void> {
    const { provider, logger, faults } = this.#parts;
    const { orderId, sagaId, pending, attempts } = payment;
    try {
      await faults.beforeProvider?.({ orderId });
      const outcome = await provider.perform(payment);
      await faults.afterProvider?.({ orderId });
      await this.#recordOutcome(payment, outcome);
    } catch (error) {
      const facts = { orderId, sagaId, pending, attempts, err: error };
      logger.warn(facts, "attempt not recorded; it is repeated with the same key");
    }
  }

  async #recordOutcome(
    payment: ClaimedPayment,
    outcome: Awaited<ReturnType<ProviderClient["perform"]>>,
  ): Promise<void> {
    const { record, settings, clock, logger } = this.#parts;
    const { orderId, sagaId, pending, attempts } = payment;
    const transition = transitionAfter(payment, outcome, settings.giveUpAfterMs);
    const facts = { orderId, sagaId, pending, attempts };
    if (transition.kind === "retry") {
      logger.info({ ...facts, code: transition.code }, "provider did not settle it; tried again");
      return record.retry(payment, backoffMs(attempts, settings.retry, clock));
    }
    const isOurs = await record.settle(payment, transition);
    const message = isOurs ? "payment settled" : "claim lost; the result is left to who has it now";
    logger.info({ ...facts, transition: transition.kind }, message);
  }
}
