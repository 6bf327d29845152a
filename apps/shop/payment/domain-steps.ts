import type { ProblemCode } from "../chassis/problem.ts";
import type { ProviderOutcome } from "./domain.ts";

/**
 * The states of a step's operation, who moves it, and what a death of the process leaves behind.
 *
 * - – → PENDING: the step's first transaction, with its barrier. Before the commit nothing is known
 *   and nothing was asked; after it the caller, or the service by itself, asks by the same key.
 * - PENDING → APPROVED or DECLINED: whoever heard the provider first. Before the commit the same key
 *   brings the same answer.
 * - PENDING or APPROVED → COMPENSATED: the compensation's first transaction, which leaves an
 *   operation of its own PENDING. A late answer to the forward call changes nothing any more.
 * - PENDING → COMPENSATED: the provider has refused it in advance.
 *
 * An operation that undoes a step knows PENDING and APPROVED only: it is asked for until it is done.
 */
export type OperationState = "PENDING" | "APPROVED" | "DECLINED" | "COMPENSATED";

/** What the provider is asked for. */
export type OperationKind = "authorize" | "capture" | "void" | "charge" | "refund";

/** Where the payment of an order stands; FAILED and VOIDED have taken no money. */
export type StepPaymentStatus =
  | "PROCESSING"
  | "AUTHORIZED"
  | "COMPLETED"
  | "FAILED"
  | "VOIDING"
  | "VOIDED"
  | "REFUNDING"
  | "REFUNDED";

/** What the decision about an answer depends on. */
export interface AskedOperation {
  readonly key: string;
  readonly kind: OperationKind;
  readonly amount: number;
  readonly isCompensation: boolean;
}

/** The order's payment, under its lock. */
export interface PaymentStanding {
  readonly amount: number;
  readonly status: StepPaymentStatus;
  /** Given back so far, as far as the provider has acknowledged it. */
  readonly refunded: number;
}

/** What the provider's last word makes of operation and payment. */
export interface Settlement {
  readonly state: Exclude<OperationState, "PENDING">;
  readonly reason?: ProblemCode;
  readonly moved?: number;
  readonly transactionId?: string;
  readonly payment: PaymentChange;
}

/** Amounts are added to what is there; what is left out stays. */
export interface PaymentChange {
  readonly status?: StepPaymentStatus;
  readonly reason?: string;
  readonly authorized?: number;
  readonly captured?: number;
  readonly charged?: number;
  readonly voided?: number;
  readonly refunded?: number;
  readonly refundClaimed?: number;
  readonly captureKey?: string;
}

/** What an outcome settles. Undefined: nothing yet; the same key has to ask again. */
export function settlementOf(
  operation: AskedOperation,
  payment: PaymentStanding,
  outcome: ProviderOutcome,
): Settlement | undefined {
  if (outcome.kind === "unknown") return undefined;
  if (outcome.kind === "approved") {
    const { transactionId, amount: moved } = outcome;
    const change = changeAfterApproval(operation, payment, moved);
    return { state: "APPROVED", moved, transactionId, payment: change };
  }
  // Anything but an acknowledgement leaves it open whether the money is back.
  if (operation.isCompensation) return undefined;
  const reason = refusalCode(operation.kind, outcome);
  const state = outcome.kind === "compensated" ? "COMPENSATED" : "DECLINED";
  return { state, reason, payment: changeAfterRefusal(operation, reason) };
}

function changeAfterApproval(
  { kind, key, isCompensation }: AskedOperation,
  payment: PaymentStanding,
  moved: number,
): PaymentChange {
  switch (kind) {
    case "authorize":
      return { status: "AUTHORIZED", authorized: moved };
    case "charge":
      return { status: "COMPLETED", charged: moved };
    case "capture":
      return { status: "COMPLETED", captured: moved, captureKey: key };
    case "void":
      // The authorization may have been made without our hearing of it.
      return { status: moved > 0 ? "VOIDED" : "FAILED", authorized: moved, voided: moved };
    case "refund": {
      if (isCompensation) {
        const status = moved > 0 ? "REFUNDED" : "FAILED";
        return { status, charged: moved, refunded: moved, refundClaimed: moved };
      }
      const isAll = payment.refunded + moved === payment.amount;
      return isAll ? { status: "REFUNDED", refunded: moved } : { refunded: moved };
    }
  }
}

function changeAfterRefusal({ kind, amount }: AskedOperation, reason: ProblemCode): PaymentChange {
  if (kind === "refund") return { refundClaimed: -amount };
  // A capture that is refused leaves the money held, for its saga to let go of.
  return kind === "capture" ? {} : { status: "FAILED", reason };
}

type Refusal = Exclude<ProviderOutcome, { readonly kind: "approved" | "unknown" }>;

function refusalCode(kind: OperationKind, outcome: Refusal): ProblemCode {
  if (outcome.kind === "declined") return outcome.reason;
  if (outcome.kind === "compensated") return "STEP_COMPENSATED";
  if (outcome.code === "AMOUNT_TOO_LARGE") return "AMOUNT_TOO_LARGE";
  return kind === "authorize" || kind === "charge" ? "PAYMENT_DECLINED" : "VERSION_CONFLICT";
}
