import { createWakeup } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import { createAlerts } from "../core/alerts.ts";
import { backoffMs } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { DureError, describeError, isDureError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { createTrouble } from "../core/trouble.ts";
import type { Trouble } from "../core/trouble.ts";
import type { SagaPlan } from "./saga-decision.ts";
import { SagaMembership } from "./saga-membership.ts";
import type { MembershipParts } from "./saga-membership.ts";
import { SagaOutcomes } from "./saga-outcomes.ts";
import type { SagaStore } from "./saga-store.ts";

/** How sagas are driven. */
export interface SagaSettings {
  /** For how long a process that says nothing keeps its sagas. */
  readonly leaseMs: number;
  /** How often it is looked for what is due, at the latest. */
  readonly pollMs: number;
  /** Sagas that one process drives at a time. */
  readonly concurrency: number;
}

/** What the engine needs. */
export interface EngineParts extends Pick<
  MembershipParts,
  "transaction" | "runStatements" | "prepareEvents" | "announce" | "onAnnounced"
> {
  readonly service: string;
  readonly store: SagaStore;
  readonly plans: ReadonlyMap<string, SagaPlan>;
  readonly settings: SagaSettings;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Drives the sagas of one process. It joins under a lease, renews it while it drives, takes over what dead
 * processes left, and joins anew when it was fenced itself: whatever it was doing then is another's.
 */
export class SagaEngine {
  readonly outcomes: SagaOutcomes;
  readonly #parts: EngineParts;
  readonly #wakeup: Wakeup = createWakeup();
  readonly #trouble: Trouble;
  #membership: SagaMembership | undefined;
  #joined = Promise.withResolvers<SagaMembership>();

  constructor(parts: EngineParts) {
    this.#parts = parts;
    const { store, clock, logger, service } = parts;
    this.outcomes = new SagaOutcomes({
      store,
      clock,
      isHere: (sagaId) => this.#membership?.runs.has(sagaId) === true,
    });
    this.#trouble = createTrouble({
      clock,
      settleMs: 5_000,
      say: (error) =>
        logger.warn("sagas cannot be driven now; it is tried again", {
          service,
          error: describeError(error),
        }),
      sayOver: () => logger.info("sagas are driven again", { service }),
    });
    // Nobody may be waiting when it is given up.
    this.#joined.promise.catch(() => undefined);
  }

  /** Something may be due. */
  wake(): void {
    this.#wakeup.wake();
  }

  /** The membership to start a saga with. Waits for one no longer than the signal. */
  async membership(): Promise<SagaMembership> {
    const current = this.#membership;
    // One that was lost may take a while to be given up: the next one is waited for.
    return current === undefined || current.signal.aborted ? this.#joined.promise : current;
  }

  /** Drives until the signal aborts, then hands over. Recovers by itself from a lost database. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    for (let failures = 1; !signal.aborted; failures += 1) {
      try {
        await this.#serve(signal);
        failures = 0;
      } catch (error) {
        if (isDureError(error, "ASSERTION_FAILED")) throw error;
        this.#trouble.failed(error);
      }
      if (signal.aborted) break;
      await clock.sleep(backoffMs(failures + 1, { baseMs: 50, maxMs: 2_000 }, clock), signal);
    }
    const stopped = new DureError(
      "STOPPED",
      `sagas of "${this.#parts.service}" are not driven any more`,
    );
    this.#joined.reject(stopped);
    this.outcomes.stop(stopped);
  }

  /** One membership, from joining to losing it. */
  async #serve(signal: AbortSignal): Promise<void> {
    const { store, settings, clock, logger } = this.#parts;
    const askedAt = clock.monotonic();
    const { process, now } = await store.join(settings.leaseMs);
    const membership = new SagaMembership({
      ...this.#parts,
      process,
      outcomes: this.outcomes,
      alerts: createAlerts(logger),
      trouble: this.#trouble,
      onRoom: () => this.wake(),
    });
    membership.renewed(askedAt, now);
    this.#membership = membership;
    this.#joined.resolve(membership);
    this.#joined = Promise.withResolvers();
    this.#joined.promise.catch(() => undefined);
    const stopping = (): void => {
      membership.stop();
      this.wake();
    };
    signal.addEventListener("abort", stopping, { once: true });
    if (signal.aborted) stopping();
    const beating = this.#beat(membership);
    try {
      await this.#look(membership);
    } finally {
      signal.removeEventListener("abort", stopping);
      this.#membership = undefined;
      membership.end();
      await beating;
      if (!membership.isFenced) await store.leave(process).catch(() => undefined);
      for (const sagaId of membership.runs.keys()) this.outcomes.left(sagaId);
    }
  }

  /** Renews the lease, and takes over what dead processes left. */
  async #beat(membership: SagaMembership): Promise<void> {
    const { store, settings, clock } = this.#parts;
    while (!membership.signal.aborted) {
      await clock.sleep(settings.leaseMs / 4, membership.signal);
      if (membership.signal.aborted) return;
      const askedAt = clock.monotonic();
      try {
        const held = await store.beat(membership.process, settings.leaseMs);
        if (held === undefined) return membership.lose("it was fenced");
        membership.renewed(askedAt, held.now);
        if ((await store.takeOver()) > 0) this.wake();
        this.#trouble.succeeded();
      } catch (error) {
        this.#trouble.failed(error);
        // The database's clock decides, but nobody can ask it: by ours the lease is over.
        if (membership.leaseMsLeft <= 0) membership.lose("its lease could not be renewed");
      }
    }
  }

  /** Looks for what is due for as long as the membership lasts. */
  async #look(membership: SagaMembership): Promise<void> {
    const { settings } = this.#parts;
    while (!membership.signal.aborted) {
      let isMore = false;
      try {
        isMore = await membership.look();
        this.#trouble.succeeded();
      } catch (error) {
        if (isDureError(error, "FENCED")) return membership.lose("it was fenced");
        this.#trouble.failed(error);
      }
      if (membership.isDrained) return;
      if (!isMore) await this.#wakeup.wait(settings.pollMs, membership.signal);
    }
  }
}
