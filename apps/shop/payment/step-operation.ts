import type { CallContext } from "../chassis/trace-context.ts";
import { continueTrace, requestIdFrom } from "../chassis/trace-context.ts";
import type { AskedOperation, OperationKind, OperationState } from "./domain-steps.ts";

/**
 * What the provider is asked for a step, as it stands. It may hold a card token: never log it whole.
 */
export interface StepOperation extends AskedOperation {
  readonly orderId: string;
  readonly sagaId: string;
  readonly currency: string;
  readonly forwardKey: string | undefined;
  readonly cardToken: string | undefined;
  readonly state: OperationState;
  readonly reason: string | undefined;
  /** What moved, once it is APPROVED. */
  readonly moved: number | undefined;
  readonly transactionId: string | undefined;
  readonly attempts: number;
  /** Of the request that began it. */
  readonly context: CallContext;
}

/** A row as the driver gives it; a bigint comes as text. */
export interface OperationRow {
  readonly key: string;
  readonly kind: OperationKind;
  readonly order_id: string;
  readonly saga_id: string;
  readonly amount: string;
  readonly currency: string;
  readonly forward_key: string | null;
  readonly is_compensation: boolean;
  readonly card_token: string | null;
  readonly state: OperationState;
  readonly reason: string | null;
  readonly moved_amount: string | null;
  readonly provider_tx_id: string | null;
  readonly request_id: string;
  readonly traceparent: string | null;
  readonly attempts: number;
}

/** The operation of a row. */
export function operationFrom(row: OperationRow): StepOperation {
  return {
    key: row.key,
    kind: row.kind,
    orderId: row.order_id,
    sagaId: row.saga_id,
    amount: Number(row.amount),
    currency: row.currency,
    forwardKey: row.forward_key ?? undefined,
    isCompensation: row.is_compensation,
    cardToken: row.card_token ?? undefined,
    state: row.state,
    reason: row.reason ?? undefined,
    moved: row.moved_amount === null ? undefined : Number(row.moved_amount),
    transactionId: row.provider_tx_id ?? undefined,
    attempts: row.attempts,
    context: {
      requestId: requestIdFrom(row.request_id),
      trace: continueTrace(row.traceparent ?? undefined),
    },
  };
}
