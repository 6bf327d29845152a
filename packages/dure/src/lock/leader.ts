import type { Clock } from "../core/clock.ts";
import { describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { RenewedLease } from "./lease.ts";
import { leaderLeaseMs, readLeadOptions, refuse } from "./lock-options.ts";
import type { LeadEveryOptions, LeadOptions, LockSettings } from "./lock-options.ts";

/** What a leader is given. */
export interface Leadership {
  /** The fencing token of this lead. */
  readonly token: number;
  readonly holder: string;
  /** Aborts when the lead is lost, or has lasted `atMostMs`. */
  readonly signal: AbortSignal;
}

/** Whether we led. */
export type LeadOutcome<Result> =
  | { readonly kind: "led"; readonly result: Result }
  | { readonly kind: "not-leading" };

/** What leading is made of. */
export interface LeaderParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly service: string;
  readonly queue: {
    tryAcquire(key: string, settings: LockSettings): Promise<RenewedLease | undefined>;
  };
}

/** See {@link Locks.lead}. */
export async function lead<Result>(
  { queue }: Pick<LeaderParts, "queue">,
  name: string,
  options: LeadOptions,
  work: (leadership: Leadership) => Promise<Result>,
): Promise<LeadOutcome<Result>> {
  const { atLeastMs, atMostMs } = readLeadOptions(name, options);
  // Never shorter than what is promised to the others, should we die.
  const leaseMs = Math.max(100, atLeastMs, Math.min(leaderLeaseMs, atMostMs));
  const lease = await queue.tryAcquire(name, { waitMs: 0, leaseMs, holdMsMax: atMostMs });
  if (lease === undefined) return { kind: "not-leading" };
  try {
    const { token, holder, signal } = lease;
    return { kind: "led", result: await work({ token, holder, signal }) };
  } finally {
    // What cannot be released expires, and whoever leads next has a greater token.
    await lease.release({ keepMs: atLeastMs }).catch(() => false);
  }
}

/** See {@link Locks.leadEvery}. */
export async function leadEvery(
  parts: LeaderParts,
  duty: {
    readonly name: string;
    readonly options: LeadEveryOptions;
    readonly work: (leadership: Leadership) => Promise<unknown>;
  },
  signal: AbortSignal,
): Promise<void> {
  const { clock, logger, service } = parts;
  const { name, options, work } = duty;
  const { everyMs } = options;
  readLeadOptions(name, options);
  refuse(
    Number.isInteger(everyMs) && everyMs >= 1 ? [] : ["everyMs: must be a whole number from 1"],
  );
  while (!signal.aborted) {
    try {
      await lead(parts, name, options, ({ signal: lost, ...leadership }) =>
        work({ ...leadership, signal: AbortSignal.any([lost, signal]) }),
      );
    } catch (error) {
      // It is tried again with the next turn, by this process or another.
      const facts = { service, name, error: describeError(error) };
      if (!signal.aborted)
        logger.warn("what one leader does for all has failed, and is tried again", facts);
    }
    await clock.sleep(everyMs, signal);
  }
}
