import { createWakeup } from "../core/abort.ts";
import { backoffMs } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { newId } from "../core/id.ts";
import type { Logger } from "../core/logger.ts";
import { RenewedLease } from "./lease.ts";
import { LockLine } from "./lock-line.ts";
import type { LockSettings } from "./lock-options.ts";
import type { LockStore } from "./lock-store.ts";

/** What taking leases is made of. */
export interface LockQueueParts {
  readonly store: LockStore;
  /** Names this process to people. */
  readonly label: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const never = new AbortController().signal;
const pollMsMin = 20;
const pollMsMax = 500;

/** Takes leases: asks, waits to be told, asks again. */
export class LockQueue {
  readonly #parts: LockQueueParts;
  readonly #line: LockLine;

  constructor(parts: LockQueueParts) {
    this.#parts = parts;
    this.#line = new LockLine(parts.clock);
  }

  async tryAcquire(key: string, settings: LockSettings): Promise<RenewedLease | undefined> {
    const answer = await this.#ask(key, newId(this.#parts.clock), settings, 0);
    return answer instanceof RenewedLease ? answer : undefined;
  }

  async acquire(
    key: string,
    settings: LockSettings,
    signal: AbortSignal = never,
  ): Promise<RenewedLease> {
    const { clock } = this.#parts;
    signal.throwIfAborted();
    const deadline = clock.monotonic() + settings.waitMs;
    const endTurn = await this.#line.enter(key, settings.waitMs, signal);
    signal.throwIfAborted();
    if (endTurn === undefined) throw timedOut(key, settings.waitMs);
    try {
      return await this.#askUntil(key, settings, { deadline, signal });
    } finally {
      endTurn();
    }
  }

  async #askUntil(
    key: string,
    settings: LockSettings,
    until: { readonly deadline: number; readonly signal: AbortSignal },
  ): Promise<RenewedLease> {
    const { store, clock } = this.#parts;
    const { deadline, signal } = until;
    const holder = newId(clock);
    const wakeup = createWakeup();
    let stopListening: (() => void) | undefined;
    try {
      for (let looks = 1; ; looks += 1) {
        const answer = await this.#ask(key, holder, settings, deadline - clock.monotonic());
        if (answer instanceof RenewedLease) return answer;
        signal.throwIfAborted();
        const leftMs = deadline - clock.monotonic();
        if (leftMs <= 0) throw timedOut(key, settings.waitMs);
        // What is told between this and the next look is kept by the wake-up.
        stopListening ??= store.listen(key, () => wakeup.wake());
        // Not all at the same moment, and not before the lease may be over, if nobody says anything.
        const pauseMs =
          pollMsMin + backoffMs(looks, { baseMs: 4 * pollMsMin, maxMs: pollMsMax }, clock);
        await wakeup.wait(Math.min(leftMs, pauseMs, answer.remainingMs + 1), signal);
        signal.throwIfAborted();
      }
    } finally {
      stopListening?.();
    }
  }

  /** A grant whose answer came too late to be of use is given back, and was none. */
  async #ask(
    key: string,
    holder: string,
    { leaseMs, holdMsMax }: LockSettings,
    waitMs: number,
  ): Promise<RenewedLease | { readonly remainingMs: number }> {
    const { store, clock, logger, label } = this.#parts;
    const askedAt = clock.monotonic();
    const wait = Math.max(0, Math.ceil(waitMs));
    const answer = await store
      .acquire({ key, holder, label, leaseMs, waitMs: wait })
      .catch((error: unknown) => {
        // It may have been granted all the same, and nobody would renew it: others need not wait for its end.
        void store.release({ key, holder, keepMs: 0 }).catch(() => false);
        throw error;
      });
    if (answer.kind === "held") return answer;
    const { token } = answer;
    const onEnded = (): void => store.tellReleased(key);
    const lease = new RenewedLease({
      store,
      clock,
      logger,
      key,
      holder,
      token,
      leaseMs,
      holdMsMax,
      askedAt,
      onEnded,
    });
    if (lease.isHeld) return lease;
    await lease[Symbol.asyncDispose]();
    return { remainingMs: 0 };
  }
}

function timedOut(key: string, waitMs: number): DureError {
  return new DureError(
    "LOCK_TIMED_OUT",
    `lock "${key}" could not be had within ${waitMs} ms: somebody else holds it ("dure locks list" says who). Nothing was done; try again later`,
  );
}
