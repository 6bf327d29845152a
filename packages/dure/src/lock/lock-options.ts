import { DureError } from "../core/errors.ts";

/** How a lock is wanted. */
export interface LockOptions {
  /** Milliseconds, 0 to an hour, to wait for it. @defaultValue 5000 */
  readonly waitMs?: number;
  /**
   * Milliseconds, 100 to an hour, after which a holder that has died or frozen has lost it. A living one renews it
   * each third of that time. @defaultValue 30000
   */
  readonly leaseMs?: number;
  /** Ends the waiting; the rejection is its reason. What is held already is not touched by it. */
  readonly signal?: AbortSignal;
}

/** As {@link LockOptions}, where the lock is not waited for. */
export interface TryLockOptions extends Pick<LockOptions, "leaseMs"> {
  /**
   * Milliseconds, up to a day, after which it is not renewed any more: a holder that forgot it would have it for
   * ever. @defaultValue 3600000
   */
  readonly holdMsMax?: number;
}

/** What {@link Locks.withLock} takes. */
export interface WithLockOptions extends LockOptions {
  /** Milliseconds, up to an hour, that its transaction may take; then lock and transaction are given up. @defaultValue 30000 */
  readonly transactionMsMax?: number;
}

/** What {@link Locks.lead} takes. */
export interface LeadOptions {
  /** Milliseconds after its beginning before which nobody else leads, however soon the work is done. @defaultValue 4000 */
  readonly atLeastMs?: number;
  /** Milliseconds after which the leader is stopped by its signal and another may lead. @defaultValue 10000 */
  readonly atMostMs?: number;
}

/** What {@link Locks.leadEvery} takes. */
export interface LeadEveryOptions extends LeadOptions {
  /** Milliseconds between two looks of one process. */
  readonly everyMs: number;
}

/** Everything filled in. */
export interface LockSettings {
  readonly waitMs: number;
  readonly leaseMs: number;
  readonly holdMsMax: number;
}

const hourMs = 3_600_000;
const leaseMsDefault = 30_000;
const waitMsDefault = 5_000;
/** A leader's: it is found dead soon. */
export const leaderLeaseMs = 10_000;

/** @throws CONFIGURATION_INVALID naming every mistake at once */
export function readLockOptions(
  key: string,
  options: LockOptions & TryLockOptions,
  hold: { readonly name: string; readonly msDefault: number; readonly msMax: number },
  holdMs: number | undefined,
): LockSettings {
  const { waitMs = waitMsDefault, leaseMs = leaseMsDefault } = options;
  const holdMsMax = holdMs ?? hold.msDefault;
  const problems = [
    ...keyProblems(key),
    ...range("waitMs", waitMs, 0, hourMs),
    ...range("leaseMs", leaseMs, 100, hourMs),
    ...range(hold.name, holdMsMax, 1, hold.msMax),
  ];
  refuse(problems);
  return { waitMs, leaseMs, holdMsMax };
}

/** @throws CONFIGURATION_INVALID naming every mistake at once */
export function readLeadOptions(name: string, options: LeadOptions): Required<LeadOptions> {
  const { atLeastMs = 4_000, atMostMs = 10_000 } = options;
  refuse([
    ...keyProblems(name),
    ...range("atLeastMs", atLeastMs, 0, 24 * hourMs),
    ...range("atMostMs", atMostMs, Math.max(100, atLeastMs), 24 * hourMs),
  ]);
  return { atLeastMs, atMostMs };
}

/** What is wrong with a key. */
export function keyProblems(key: string): readonly string[] {
  const isKey = typeof key === "string" && key.length >= 1 && key.length <= 500;
  return isKey && !key.includes("\0") ? [] : ["key: must be a text of 1 to 500 characters"];
}

function range(name: string, value: number, min: number, max: number): readonly string[] {
  if (Number.isInteger(value) && value >= min && value <= max) return [];
  return [`${name}: must be a whole number of milliseconds from ${min} to ${max}, got ${value}`];
}

/** All mistakes at once. */
export function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new DureError("CONFIGURATION_INVALID", `lock: ${problems.join("; ")}`);
}
