import type { Leadership } from "dure/lock";
import type { ServiceDure } from "./messaging.ts";

/** What is done again and again, by one process for all instances of a service. */
export interface LeaderSweep {
  readonly dure: ServiceDure;
  /** Unique in the service. */
  readonly name: string;
  readonly everyMs: number;
}

/** The share of the interval for which nobody follows, so that instances together sweep about as often as one would. */
const atLeastShare = 0.8;

/**
 * Sweeps until the signal aborts, under the leader lock of that name: instances take turns, and one that
 * dies is followed after ten seconds. A failure is logged, and tried again. Never rejects.
 */
export function sweepAsLeader(
  { dure, name, everyMs }: LeaderSweep,
  sweep: (leadership: Leadership) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const atLeastMs = Math.floor(everyMs * atLeastShare);
  const options = { everyMs, atLeastMs, atMostMs: Math.max(10_000, atLeastMs) };
  return dure.locks.leadEvery(name, options, sweep, signal);
}
