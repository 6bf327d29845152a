import type { ServiceTransaction } from "dure";
import type { Pool, PoolClient } from "pg";
import type { ServiceDure } from "../chassis/messaging.ts";
import { PaymentCompleted, PaymentFailed, PaymentRefunded } from "../contracts/events.ts";
import { claimedFrom } from "./claimed-payment.ts";
import type { ClaimedPayment, ClaimedRow } from "./claimed-payment.ts";
import type { PaymentStatus, Transition } from "./domain.ts";
import { addHistory } from "./history.ts";
import * as sql from "./payment-sql.ts";

/** The worker's side of the payments: what is due, and what became of it. */
export interface PaymentRecord {
  /**
   * Takes due payments, each for one worker of all instances. If the process dies after it, they are
   * due again when the claim has run out.
   */
  claim(max: number, claimMs: number): Promise<readonly ClaimedPayment[]>;
  /** In how many milliseconds something is due, undefined when nothing is open. */
  nextDueInMs(): Promise<number | undefined>;
  /**
   * Commits the transition and its event together, if the claim still stands, and says whether it
   * did. If the process dies before the commit, the next claim asks the provider again with the same
   * key and gets the same answer.
   */
  settle(payment: ClaimedPayment, transition: Settling): Promise<boolean>;
  /** Hands the payment back for any instance to try again after the time. */
  retry(payment: ClaimedPayment, delayMs: number): Promise<void>;
}

/** Every transition that changes the payment. */
export type Settling = Exclude<Transition, { readonly kind: "retry" }>;

/** The payments of the service's own database. */
export function createPaymentRecord(pool: Pool, dure: ServiceDure): PaymentRecord {
  return {
    async claim(max, claimMs) {
      const { rows } = await pool.query<ClaimedRow>(sql.claimDue, [max, claimMs]);
      return rows.map(claimedFrom);
    },
    async nextDueInMs() {
      const { rows } = await pool.query<{ due_in_ms: number | null }>(sql.nextDue);
      return rows[0]?.due_in_ms ?? undefined;
    },
    settle: (payment, transition) =>
      dure.transaction((tx) => settleIn(tx, payment, transition), { context: payment.cause }),
    async retry(payment, delayMs) {
      await pool.query(sql.retryLater, [payment.id, payment.claimToken, delayMs]);
    },
  };
}

type Tx = ServiceTransaction<PoolClient>;

async function settleIn(tx: Tx, payment: ClaimedPayment, transition: Settling): Promise<boolean> {
  switch (transition.kind) {
    case "complete":
      return complete(tx, payment, transition.transactionId);
    case "fail":
      return fail(tx, payment, transition);
    case "refunded":
      return refunded(tx, payment, transition);
    case "cancel": {
      const { rowCount } = await tx.client.query(sql.giveUp, [
        payment.id,
        payment.claimToken,
        transition.reason,
      ]);
      if (rowCount !== 1) return false;
      await addHistory(tx, payment.orderId, "charge given up", { reason: transition.reason });
      return true;
    }
  }
}

async function complete(tx: Tx, payment: ClaimedPayment, transactionId: string): Promise<boolean> {
  const { id, orderId, sagaId, userId, amount, items } = payment;
  if (!(await move(tx, payment, { to: "COMPLETED", chargeTxId: transactionId }))) return false;
  await addHistory(tx, orderId, "payment COMPLETED", { amount, transactionId });
  tx.emit(PaymentCompleted, {
    orderId,
    sagaId,
    userId,
    paymentId: id,
    amount,
    items: items.map(({ productId, quantity, unitPrice }) => ({ productId, quantity, unitPrice })),
  });
  return true;
}

async function fail(
  tx: Tx,
  payment: ClaimedPayment,
  { reason, settled }: Extract<Settling, { readonly kind: "fail" }>,
): Promise<boolean> {
  const { orderId, sagaId } = payment;
  const refund = settled === undefined ? {} : refundOf(settled);
  if (!(await move(tx, payment, { to: "FAILED", reason, ...refund }))) return false;
  await addHistory(tx, orderId, "payment FAILED", { reason, ...refund });
  tx.emit(PaymentFailed, { orderId, sagaId, reason });
  return true;
}

async function refunded(
  tx: Tx,
  payment: ClaimedPayment,
  { settled }: Extract<Settling, { readonly kind: "refunded" }>,
): Promise<boolean> {
  const { orderId, sagaId, amount, reason = "CANCELED_BY_USER" } = payment;
  const refund = refundOf(settled);
  if (!(await move(tx, payment, { to: "REFUNDED", reason, ...refund }))) return false;
  await addHistory(tx, orderId, "payment REFUNDED", { reason, ...refund }, "compensation");
  tx.emit(PaymentRefunded, { orderId, sagaId, amount, reason });
  return true;
}

function refundOf(settled: { readonly transactionId: string; readonly amount: number }) {
  return { refundTxId: settled.transactionId, refundedAmount: settled.amount };
}

interface Move {
  readonly to: PaymentStatus;
  readonly reason?: string;
  readonly chargeTxId?: string;
  readonly refundTxId?: string;
  readonly refundedAmount?: number;
}

/** False when the claim is lost: another instance, or a compensation, has taken the payment over. */
async function move(tx: Tx, payment: ClaimedPayment, to: Move): Promise<boolean> {
  const { rowCount } = await tx.client.query(sql.settle, [
    payment.id,
    payment.claimToken,
    payment.status,
    payment.pending,
    to.to,
    to.reason,
    to.chargeTxId,
    to.refundTxId,
    to.refundedAmount,
  ]);
  return rowCount === 1;
}
