import { backoffMs } from "dure";
import type { Clock } from "dure";

/** Where a delivery stands. PENDING: the carrier has not answered yet. */
export type DeliveryStatus = "PENDING" | "STARTED" | "REFUSED" | "STOPPED";

/** What the carrier says to a booking; the same for the same key, however often it is asked. */
export type CarrierOutcome = "accepted" | "refused";

/** What the carrier's answer makes of a pending delivery. */
export function statusAfter(outcome: CarrierOutcome): "STARTED" | "REFUSED" {
  return outcome === "accepted" ? "STARTED" : "REFUSED";
}

/** The key under which a saga's delivery is booked. */
export function startKey(sagaId: string): string {
  return `${sagaId}-delivery-start`;
}

/**
 * How long a delivery rests after so many failures. There is no last attempt: an order that was
 * paid is delivered or refused, and one that waits too long is found by the order's deadline.
 */
export function restMs(failures: number, clock: Pick<Clock, "random">): number {
  return backoffMs(failures, { baseMs: 100, maxMs: 10_000 }, clock);
}
