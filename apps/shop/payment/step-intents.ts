import type { StepAnswer, StepTransaction } from "../chassis/participant-steps.ts";
import { ProblemError } from "../chassis/problem.ts";
import type { CompensatingCall, StepCall } from "../chassis/step-call.ts";
import type { PayWithCard, RefundPayment, UndoPayment } from "../contracts/http/payment-steps.ts";
import type { StepOwner } from "../contracts/http/step.ts";
import type { OperationKind } from "./domain-steps.ts";
import { addStepHistory, changePayment, lockPayment, readOperation } from "./step-record.ts";
import * as sql from "./step-sql.ts";

/**
 * The first transaction of each payment step: what is to be asked of the provider is written down,
 * under the barrier, and nothing is asked yet. If the process dies after the commit, the operation is
 * due in a moment, and the same key asks.
 */
export interface BegunStep {
  /** Under which the provider is asked, and the outcome is found. */
  readonly operationKey: string;
}

/** How long the request that begins an operation has it to itself. */
const headStartMs = 10_000;

/** New money, held or taken; one payment per order. */
export async function beginCardPayment(
  tx: StepTransaction,
  kind: "authorize" | "charge",
  call: StepCall,
  body: PayWithCard,
): Promise<StepAnswer<BegunStep>> {
  const { orderId, sagaId, userId, amount, currency, token } = body;
  const flow = kind === "authorize" ? "two-phase" : "one-phase";
  const facts = [orderId, sagaId, userId, amount, currency, flow, call.key];
  const inserted = await tx.client.query(sql.insertPayment, [
    ...facts,
    JSON.stringify(call.context),
  ]);
  if (inserted.rowCount !== 1) return refused("VERSION_CONFLICT", "The order has a payment.");
  await insertOperation(tx, call, { kind, ...body, cardToken: token });
  return begun(call);
}

/** Takes all that the order's authorization holds, once. */
export async function beginCapture(
  tx: StepTransaction,
  call: StepCall,
  body: StepOwner,
): Promise<StepAnswer<BegunStep>> {
  const payment = await lockPayment(tx, body.orderId);
  if (payment?.status !== "AUTHORIZED" || (await isCaptured(tx, payment.firstKey))) {
    return refused("VERSION_CONFLICT", "No authorization of the order is there to be captured.");
  }
  const { amount, currency, firstKey: forwardKey } = payment;
  await insertOperation(tx, call, { kind: "capture", ...body, amount, currency, forwardKey });
  return begun(call);
}

/** Gives a part of what was paid back, or all; all refunds together never exceed it. */
export async function beginRefund(
  tx: StepTransaction,
  call: StepCall,
  body: RefundPayment,
): Promise<StepAnswer<BegunStep>> {
  const { orderId, sagaId, amount, reason = "CANCELED_BY_USER" } = body;
  const payment = await lockPayment(tx, orderId);
  if (payment === undefined || !["COMPLETED", "REFUNDED"].includes(payment.status)) {
    return refused("NO_MATCHING_PURCHASE", "The order has paid nothing that could go back.");
  }
  const left = payment.status === "REFUNDED" ? 0 : payment.amount - payment.refundClaimed;
  if (amount > left) return refused("AMOUNT_TOO_LARGE", "Less is left of what the order has paid.");
  const { currency, paidKey: forwardKey } = payment;
  const money = { orderId, sagaId, amount, currency, reason };
  await insertOperation(tx, call, { kind: "refund", ...money, forwardKey });
  await changePayment(tx, orderId, { refundClaimed: amount });
  return begun(call);
}

/**
 * Undoes an authorization or a charge, whatever became of it. Under way or done: nobody believes its
 * answer any more, and the provider is asked to undo it by its key, which settles the doubt.
 * Undefined: it was declined, or never begun, so there is nothing to ask.
 *
 * @throws ProblemError VERSION_CONFLICT when the money has gone on: captured, or partly refunded
 */
export async function beginUndo(
  tx: StepTransaction,
  kind: "authorize" | "charge",
  call: CompensatingCall,
  body: UndoPayment,
): Promise<BegunStep | undefined> {
  const { orderId, sagaId, reason = "CANCELED_BY_USER" } = body;
  const payment = await lockPayment(tx, orderId);
  const forward = await readOperation(tx, call.compensates);
  if (forward !== undefined && (forward.orderId !== orderId || forward.kind !== kind)) {
    throw new ProblemError("VALIDATION_FAILED", `${call.compensates} is no ${kind} of the order.`);
  }
  if (payment === undefined || forward === undefined) return undefined;
  if (forward.state === "DECLINED" || forward.state === "COMPENSATED") return undefined;
  if (payment.refundClaimed > 0 || (await isCaptured(tx, forward.key))) {
    throw new ProblemError("VERSION_CONFLICT", "The money is captured, or went back in part.");
  }
  await tx.client.query(sql.compensateOperation, [forward.key]);
  const { amount, currency, key: forwardKey } = forward;
  const undoing = { orderId, sagaId, amount, currency, forwardKey, reason, isCompensation: true };
  await insertOperation(tx, call, {
    kind: kind === "authorize" ? "void" : "refund",
    ...undoing,
  });
  const status = kind === "authorize" ? "VOIDING" : "REFUNDING";
  await changePayment(tx, orderId, { status, reason });
  return { operationKey: call.key };
}

interface NewOperation {
  readonly kind: OperationKind;
  readonly orderId: string;
  readonly sagaId: string;
  readonly amount: number;
  readonly currency: string;
  readonly forwardKey?: string;
  readonly cardToken?: string;
  readonly reason?: string;
  readonly isCompensation?: boolean;
}

async function insertOperation(
  tx: StepTransaction,
  { key, fencingToken, context }: StepCall,
  operation: NewOperation,
): Promise<void> {
  const { kind, orderId, sagaId, amount, currency, forwardKey, cardToken, reason } = operation;
  const { isCompensation = false } = operation;
  await tx.client.query(sql.insertOperation, [
    key,
    kind,
    orderId,
    sagaId,
    amount,
    currency,
    forwardKey,
    isCompensation,
    cardToken,
    reason,
    fencingToken,
    context.correlationId ?? key,
    context.traceparent,
    headStartMs,
  ]);
  const detail = { sagaId, key, amount, fencingToken, reason };
  await addStepHistory(tx, orderId, { what: `${kind} asked for`, isCompensation, detail });
}

async function isCaptured(tx: StepTransaction, authorizationKey: string): Promise<boolean> {
  const { rows } = await tx.client.query<{ found: boolean }>(sql.hasCapture, [authorizationKey]);
  return rows[0]?.found === true;
}

function begun({ key }: StepCall): StepAnswer<BegunStep> {
  return { kind: "done", body: { operationKey: key } };
}

function refused(
  code: "VERSION_CONFLICT" | "NO_MATCHING_PURCHASE" | "AMOUNT_TOO_LARGE",
  detail: string,
): StepAnswer<never> {
  return { kind: "refused", code, detail };
}
