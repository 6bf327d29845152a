import type { Pool } from "pg";
import type { StepTransaction } from "../chassis/participant-steps.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import type { ProviderOutcome } from "./domain.ts";
import { settlementOf } from "./domain-steps.ts";
import type { PaymentChange, PaymentStanding, Settlement } from "./domain-steps.ts";
import { operationFrom } from "./step-operation.ts";
import type { OperationRow, StepOperation } from "./step-operation.ts";
import * as sql from "./step-sql.ts";

/** The order's payment as steps see it, held until the transaction ends. */
export interface LockedPayment extends PaymentStanding {
  readonly currency: string;
  readonly flow: "choreographed" | "one-phase" | "two-phase";
  /** Of the authorization, or of the charge. */
  readonly firstKey: string;
  /** What a refund names at the provider. */
  readonly paidKey: string;
  /** Refunds that were begun, settled or not. */
  readonly refundClaimed: number;
}

/** The operations that steps have begun, and what became of them. */
export interface StepRecord {
  read(key: string): Promise<StepOperation | undefined>;
  /** Takes open operations that are due; they are due again when the time is over. */
  claim(max: number, claimMs: number): Promise<readonly StepOperation[]>;
  /** Puts off when the service asks by itself. */
  postpone(keys: readonly string[], delayMs: number): Promise<void>;
  /**
   * Commits what the outcome settles, for operation and payment together, unless somebody was
   * faster; the operation as it is then. If the process dies before the commit, the same key brings
   * the same outcome.
   */
  settle(operation: StepOperation, outcome: ProviderOutcome): Promise<StepOperation>;
}

/** The operations of the service's own database. */
export function createStepRecord(pool: Pool, dure: ServiceDure): StepRecord {
  return {
    async read(key) {
      const { rows } = await pool.query<OperationRow>(sql.readOperation, [key]);
      return rows[0] === undefined ? undefined : operationFrom(rows[0]);
    },
    async claim(max, claimMs) {
      const { rows } = await pool.query<OperationRow>(sql.claimOperations, [max, claimMs]);
      return rows.map(operationFrom);
    },
    async postpone(keys, delayMs) {
      await pool.query(sql.postponeOperations, [keys, delayMs]);
    },
    settle: (operation, outcome) =>
      dure.transaction(async (tx) => {
        const payment = await lockPayment(tx, operation.orderId);
        if (payment === undefined) throw new Error(`${operation.key} without a payment`);
        const settlement = settlementOf(operation, payment, outcome);
        if (settlement !== undefined) await settleIn(tx, operation, settlement);
        const settled = await readOperation(tx, operation.key);
        if (settled === undefined) throw new Error(`${operation.key} is gone`);
        return settled;
      }),
  };
}

/** Locks the order's payment: every transaction's first lock after the barrier. */
export async function lockPayment(
  tx: StepTransaction,
  orderId: string,
): Promise<LockedPayment | undefined> {
  const { rows } = await tx.client.query<PaymentRow>(sql.lockPayment, [orderId]);
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    amount: Number(row.amount),
    currency: row.currency,
    status: row.status,
    flow: row.flow,
    firstKey: row.idempotency_key,
    paidKey: row.paid_key,
    refunded: Number(row.refunded),
    refundClaimed: Number(row.refund_claimed),
  };
}

/** One operation, as the transaction sees it. */
export async function readOperation(
  tx: StepTransaction,
  key: string,
): Promise<StepOperation | undefined> {
  const { rows } = await tx.client.query<OperationRow>(sql.readOperation, [key]);
  return rows[0] === undefined ? undefined : operationFrom(rows[0]);
}

/** Changes where the order's money stands; the payment is locked. */
export async function changePayment(
  tx: StepTransaction,
  orderId: string,
  change: PaymentChange & { readonly transactionId?: string | undefined },
): Promise<void> {
  const { authorized = 0, captured = 0, charged = 0, voided = 0, refunded = 0 } = change;
  const { status, reason, refundClaimed = 0, captureKey, transactionId } = change;
  const amounts = [authorized, captured, charged, voided, refunded, refundClaimed];
  const values = [orderId, status, reason, ...amounts, captureKey, transactionId];
  await tx.client.query(sql.movePayment, values);
}

/** Adds a line to the order's timeline, in the transaction of the change that it tells of. */
export async function addStepHistory(
  tx: StepTransaction,
  orderId: string,
  line: {
    readonly what: string;
    readonly isCompensation: boolean;
    readonly detail: Readonly<Record<string, string | number | boolean | undefined>>;
  },
): Promise<void> {
  const { what, isCompensation, detail } = line;
  await tx.client.query(sql.insertHistory, [orderId, what, isCompensation, JSON.stringify(detail)]);
}

async function settleIn(
  tx: StepTransaction,
  operation: StepOperation,
  settlement: Settlement,
): Promise<void> {
  const { key, orderId, kind, isCompensation } = operation;
  const { state, moved, transactionId, payment } = settlement;
  const values = [key, state, settlement.reason, moved, transactionId];
  const { rowCount } = await tx.client.query(sql.settleOperation, values);
  if (rowCount !== 1) return;
  const isCharge = kind === "authorize" || kind === "charge";
  // Of a step that is undone later, and of a part that goes back, the first transaction is named.
  const named = isCharge ? { transactionId } : {};
  const reason = payment.reason ?? (payment.status === undefined ? undefined : operation.reason);
  await changePayment(tx, orderId, {
    ...payment,
    ...named,
    ...(reason === undefined ? {} : { reason }),
  });
  await addStepHistory(tx, orderId, {
    what: `${kind} ${state}`,
    isCompensation,
    detail: { key, amount: moved, transactionId, reason: settlement.reason ?? operation.reason },
  });
}

interface PaymentRow {
  readonly amount: string;
  readonly currency: string;
  readonly status: LockedPayment["status"];
  readonly flow: LockedPayment["flow"];
  readonly idempotency_key: string;
  readonly paid_key: string;
  readonly refunded: string;
  readonly refund_claimed: string;
}
