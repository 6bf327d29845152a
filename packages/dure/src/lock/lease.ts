import { settledWithin } from "../core/abort.ts";
import type { Clock } from "../core/clock.ts";
import { DureError, describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { LockStore } from "./lock-store.ts";

/**
 * A lock that this process holds. It is renewed by itself until it is released, lost, or held for as long as it may be.
 * If the process dies or freezes here, the lock is free again when the lease is over.
 */
export interface Lease {
  readonly key: string;
  /** Whoever compares tokens compares this too: the same token is only good for the same holder. */
  readonly holder: string;
  /** The fencing token: greater than that of any holder before. Give it to whatever you write to. */
  readonly token: number;
  /** Aborts when the lease is lost, before it can be given to another; the reason is a LEASE_LOST. */
  readonly signal: AbortSignal;
  /** Looks at a clock, and not at the signal: also right when the event loop was blocked. Promises nothing for later. */
  readonly isHeld: boolean;
  /**
   * Gives the lock back and ends the renewal. Twice is once.
   * @returns whether it was still held by this holder; of another's lease nothing is changed
   * @throws DATABASE_UNAVAILABLE, BROKER_UNAVAILABLE when that cannot be said: it is free when the lease is over
   */
  release(): Promise<boolean>;
  /** As `release`, and never rejects: what cannot be released expires. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What a lease is made of. */
export interface LeaseParts {
  readonly store: LockStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly key: string;
  readonly holder: string;
  readonly token: number;
  readonly leaseMs: number;
  /** It is renewed no longer than this. */
  readonly holdMsMax: number;
  /** By the monotonic clock, before the request that was granted. */
  readonly askedAt: number;
  /** The lock may be free. */
  readonly onEnded: () => void;
}

/** What is left of the lease when it is believed lost: for timers that are late and clocks that differ in speed. */
const marginShare = 0.05;
const renewalShare = 1 / 3;
const retryMs = 100;

/**
 * A lease with its own deadline. The deadline is counted from before the request that the store granted, on a clock
 * that never goes back: at that moment the store cannot have granted less.
 */
export class RenewedLease implements Lease {
  readonly key: string;
  readonly holder: string;
  readonly token: number;
  readonly signal: AbortSignal;
  readonly #parts: LeaseParts;
  readonly #lost: AbortController = new AbortController();
  /** Ends the loops, whatever the reason. */
  readonly #over: AbortController = new AbortController();
  #deadline: number;
  #released: Promise<boolean> | undefined;

  constructor(parts: LeaseParts) {
    this.#parts = parts;
    this.key = parts.key;
    this.holder = parts.holder;
    this.token = parts.token;
    this.signal = this.#lost.signal;
    this.#deadline = this.#deadlineFrom(parts.askedAt);
    void this.#watch();
    void this.#renew();
  }

  get isHeld(): boolean {
    return !this.#over.signal.aborted && this.#parts.clock.monotonic() < this.#deadline;
  }

  /** @throws LEASE_LOST */
  assertHeld(): void {
    if (!this.isHeld) this.#lose("its time is over");
    this.signal.throwIfAborted();
  }

  /** Lets it be as it is from now on: a commit that releases it is on its way. */
  endRenewal(): void {
    this.#over.abort();
  }

  /** A commit has released it. */
  wasReleased(): void {
    this.#over.abort();
    this.#released ??= Promise.resolve(true);
    this.#parts.onEnded();
  }

  release(options?: { readonly keepMs?: number }): Promise<boolean> {
    this.#over.abort();
    this.#released ??= this.#giveBack(options?.keepMs ?? 0);
    return this.#released;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch((error: unknown) => {
      const facts = { key: this.key, token: this.token, error: describeError(error) };
      this.#parts.logger.warn(
        "a lock could not be released; it is free when its lease is over",
        facts,
      );
    });
  }

  async #giveBack(keepMs: number): Promise<boolean> {
    const { store, key, holder, onEnded } = this.#parts;
    const wasHeld = await store.release({ key, holder, keepMs });
    onEnded();
    return wasHeld;
  }

  #deadlineFrom(askedAt: number): number {
    const { leaseMs, holdMsMax } = this.#parts;
    return Math.min(askedAt + leaseMs * (1 - marginShare), this.#parts.askedAt + holdMsMax);
  }

  async #watch(): Promise<void> {
    const { clock } = this.#parts;
    const { signal } = this.#over;
    while (!signal.aborted) {
      const leftMs = this.#deadline - clock.monotonic();
      if (leftMs <= 0) return this.#lose("its time is over");
      await clock.sleep(Math.ceil(leftMs), signal);
    }
  }

  async #renew(): Promise<void> {
    const { store, clock, logger, key, holder, leaseMs } = this.#parts;
    const { signal } = this.#over;
    let pauseMs = leaseMs * renewalShare;
    for (;;) {
      await clock.sleep(pauseMs, signal);
      const askedAt = clock.monotonic();
      // After the deadline nothing is asked: that the store has not noticed yet makes nobody the holder again.
      if (signal.aborted || askedAt >= this.#deadline) return;
      pauseMs = leaseMs * renewalShare;
      try {
        const renewing = store.renew({ key, holder, leaseMs });
        if (!(await settledWithin(renewing, leaseMs * renewalShare)))
          throw new Error("no answer yet");
        if (!(await renewing)) return this.#lose("it is not ours any more");
        this.#deadline = Math.max(this.#deadline, this.#deadlineFrom(askedAt));
      } catch (error) {
        pauseMs = Math.min(retryMs, pauseMs);
        const facts = { key, token: this.token, error: describeError(error) };
        if (!signal.aborted)
          logger.warn("a lock could not be renewed and it is tried again", facts);
      }
    }
  }

  #lose(why: string): void {
    if (this.#over.signal.aborted) return;
    const { key, token, logger } = this.#parts;
    this.#over.abort();
    this.#lost.abort(
      new DureError(
        "LEASE_LOST",
        `the lease of lock "${key}" (token ${token}) was lost: ${why}. Stop, take the lock again, and read again what was read under it`,
      ),
    );
    logger.warn("the lease of a lock was lost", { key, token, why });
  }
}
