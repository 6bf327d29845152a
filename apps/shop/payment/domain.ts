/**
 * The states of a payment, who moves it, and what a death of the process leaves behind.
 *
 * - – → PROCESSING, to be charged: the handler of `order.created`, with the inbox. Before the commit
 *   the message comes again; after it the row is due and a worker finds it.
 * - PROCESSING → COMPLETED: the worker, on `approved`. Before the commit the claim runs out, and the
 *   same key brings the same answer.
 * - PROCESSING → FAILED: the worker, on `declined`. Likewise: the provider repeats its refusal.
 * - PROCESSING, to be charged → to be canceled: the worker, when the provider was away for too long,
 *   or the handler of a compensation that meets a charge of unknown outcome. After the commit nobody
 *   charges any more, and somebody cancels.
 * - PROCESSING, to be canceled → FAILED: the worker, when the provider has acknowledged that. Before
 *   the commit the claim runs out, and the same key is acknowledged again.
 * - COMPLETED → REFUNDING: the handler of a compensation, with the inbox. Before the commit the
 *   message comes again; after it the row is due.
 * - REFUNDING → REFUNDED: the worker, when the provider has acknowledged that. As for canceling.
 * - – → FAILED: the handler of an `order.created` whose compensation came first. The message comes
 *   again, and is refused again.
 *
 * FAILED and REFUNDED are final; COMPLETED is, unless it is compensated. Each change commits with the
 * event that tells of it. In FAILED no money is kept: none moved, or what moved was given back.
 */
import type { CancelReason } from "../contracts/events.ts";
import type { DeclineReason } from "../contracts/http/provider.ts";

/** Where a payment stands. */
export type PaymentStatus = "PROCESSING" | "COMPLETED" | "FAILED" | "REFUNDING" | "REFUNDED";

/** What the provider is still to be asked for. Undefined in COMPLETED, FAILED and REFUNDED. */
export type PendingOperation = "charge" | "cancel" | "refund";

/** What one request to the provider came to. */
export type ProviderOutcome =
  | { readonly kind: "approved"; readonly transactionId: string; readonly amount: number }
  | { readonly kind: "declined"; readonly transactionId: string; readonly reason: DeclineReason }
  /** The charge was undone or refused in advance; it will not happen any more. */
  | { readonly kind: "compensated" }
  /** The provider does not understand the request, and has done nothing. */
  | { readonly kind: "rejected"; readonly code: string }
  /** It may have happened or not, or was not taken now: only the same key may ask again. */
  | { readonly kind: "unknown"; readonly code: string };

/** What to make of an outcome. */
export type Transition =
  | { readonly kind: "complete"; readonly transactionId: string }
  | { readonly kind: "fail"; readonly reason: CancelReason; readonly settled?: Settled }
  | { readonly kind: "refunded"; readonly settled: Settled }
  | { readonly kind: "cancel"; readonly reason: CancelReason }
  | { readonly kind: "retry"; readonly code: string };

/** A refund or a cancellation that the provider has acknowledged. */
export interface Settled {
  readonly transactionId: string;
  /** What was given back: 0 when nothing had been taken. */
  readonly amount: number;
}

/** What the decision about an outcome depends on. */
export interface AttemptedPayment {
  readonly pending: PendingOperation;
  /** Why it is canceled or refunded; undefined while it is being charged. */
  readonly reason: CancelReason | undefined;
  /** Since its creation, by the database's clock, when the attempt began. */
  readonly ageMs: number;
}

/** Decides what an outcome means. A charge whose outcome is unknown is never simply failed. */
export function transitionAfter(
  payment: AttemptedPayment,
  outcome: ProviderOutcome,
  giveUpAfterMs: number,
): Transition {
  if (payment.pending === "charge") return afterCharge(payment.ageMs, outcome, giveUpAfterMs);
  // Anything but an acknowledgement leaves it open whether the money is back: ask until it is clear.
  if (outcome.kind !== "approved") return { kind: "retry", code: codeOf(outcome) };
  const settled = { transactionId: outcome.transactionId, amount: outcome.amount };
  if (payment.pending === "refund") return { kind: "refunded", settled };
  return { kind: "fail", reason: payment.reason ?? "PROVIDER_UNAVAILABLE", settled };
}

function afterCharge(ageMs: number, outcome: ProviderOutcome, giveUpAfterMs: number): Transition {
  switch (outcome.kind) {
    case "approved":
      return { kind: "complete", transactionId: outcome.transactionId };
    case "declined":
      return { kind: "fail", reason: outcome.reason };
    case "compensated":
      return { kind: "fail", reason: "PROVIDER_UNAVAILABLE" };
    case "rejected":
      return { kind: "fail", reason: "PAYMENT_DECLINED" };
    case "unknown":
      return ageMs < giveUpAfterMs
        ? { kind: "retry", code: outcome.code }
        : { kind: "cancel", reason: "PROVIDER_UNAVAILABLE" };
  }
}

function codeOf(outcome: ProviderOutcome): string {
  return "code" in outcome ? outcome.code : outcome.kind.toUpperCase();
}

/** What a compensation does to a payment that it finds: nothing where no money is kept, or soon is not. */
export function undoOf(status: PaymentStatus): "cancel" | "refund" | "nothing" {
  switch (status) {
    case "PROCESSING":
      return "cancel";
    case "COMPLETED":
      return "refund";
    case "FAILED":
    case "REFUNDING":
    case "REFUNDED":
      return "nothing";
  }
}

/** The two keys of a saga at the provider: the refund undoes the charge, whether it came or not. */
export function keysOf(sagaId: string): { readonly charge: string; readonly refund: string } {
  return { charge: `${sagaId}-payment-charge`, refund: `${sagaId}-payment-refund` };
}
