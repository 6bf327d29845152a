import type { MessageContext } from "dure";
import type { CancelReason } from "../contracts/events.ts";
import type { AttemptedPayment, PaymentStatus, PendingOperation } from "./domain.ts";

/** One line of the order, as the next services need it. */
export interface OrderItem {
  readonly productId: string;
  readonly quantity: number;
  readonly unitPrice: number;
}

/**
 * A payment that this process may ask the provider about until the claim runs out. It holds a card
 * token: never log it whole.
 */
export interface ClaimedPayment extends AttemptedPayment {
  readonly id: string;
  readonly orderId: string;
  readonly sagaId: string;
  readonly userId: string;
  readonly amount: number;
  readonly currency: string;
  readonly items: readonly OrderItem[];
  readonly status: PaymentStatus;
  readonly chargeKey: string;
  readonly refundKey: string;
  readonly cardToken: string | undefined;
  readonly cause: MessageContext;
  /** Requests for the pending operation, this one included. */
  readonly attempts: number;
  /** Proves the claim when the result is recorded. */
  readonly claimToken: string;
}

/** A claimed row as the driver gives it; a bigint comes as text. */
export interface ClaimedRow {
  readonly id: string;
  readonly order_id: string;
  readonly saga_id: string;
  readonly user_id: string;
  readonly amount: string;
  readonly currency: string;
  readonly order_items: readonly OrderItem[];
  readonly status: PaymentStatus;
  readonly pending_operation: PendingOperation;
  readonly idempotency_key: string;
  readonly refund_key: string;
  readonly card_token: string | null;
  readonly reason: CancelReason | null;
  readonly cause: MessageContext;
  readonly attempts: number;
  readonly claim_token: string;
  readonly age_ms: number;
}

/** The payment of a claimed row. */
export function claimedFrom(row: ClaimedRow): ClaimedPayment {
  return {
    id: row.id,
    orderId: row.order_id,
    sagaId: row.saga_id,
    userId: row.user_id,
    amount: Number(row.amount),
    currency: row.currency,
    items: row.order_items,
    status: row.status,
    pending: row.pending_operation,
    chargeKey: row.idempotency_key,
    refundKey: row.refund_key,
    cardToken: row.card_token ?? undefined,
    reason: row.reason ?? undefined,
    cause: row.cause,
    attempts: row.attempts,
    claimToken: row.claim_token,
    ageMs: row.age_ms,
  };
}
