import { backoffMs } from "dure";
import type { Clock } from "dure";
import type { CancelReason } from "../contracts/events.ts";

/** The ways to reach a customer; each is tried on its own. */
export const channels = ["SMS", "EMAIL"] as const;

/** A member of {@link channels}. */
export type Channel = (typeof channels)[number];

/** What a notification is about. */
export type Template = "ORDER_COMPLETED" | "ORDER_CANCELED";

/** DEAD: it was given up, and nobody tries again. */
export type NotificationStatus = "PENDING" | "SENT" | "DEAD";

/** What the text is made of. */
export interface OrderFacts {
  readonly orderId: string;
  /** Minor units. */
  readonly amount: number;
  readonly currency: string;
  /** Of a canceled order. */
  readonly reason?: CancelReason;
}

/** The text that the customer reads. */
export function textOf(template: Template, facts: OrderFacts): string {
  const { orderId, amount, currency, reason } = facts;
  if (template === "ORDER_COMPLETED") {
    const major = `${Math.floor(amount / 100)}.${String(amount % 100).padStart(2, "0")}`;
    return `Your order ${orderId} over ${currency} ${major} is on its way.`;
  }
  const why = reason === undefined ? "" : ` (${reason.toLowerCase().replaceAll("_", " ")})`;
  return `Your order ${orderId} was canceled${why}. You have not been charged, or get it all back.`;
}

/** Attempts in all, the first included. */
export const attemptsMax = 8;

/** What follows from a failed attempt. */
export type AfterFailure =
  | { readonly kind: "rest"; readonly restMs: number }
  | { readonly kind: "give-up" };

/** Exponential backoff, then the end: somebody who cannot be reached must not cost for ever. */
export function afterFailure(attempt: number, clock: Pick<Clock, "random">): AfterFailure {
  if (attempt >= attemptsMax) return { kind: "give-up" };
  return { kind: "rest", restMs: backoffMs(attempt, { baseMs: 200, maxMs: 60_000 }, clock) };
}
