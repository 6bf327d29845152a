import { isDureError } from "dure";
import type { MessageContext, ServiceTransaction } from "dure";
import type { ParticipantBarrier } from "dure/participant";
import { postgresParticipantBarrier } from "dure/postgres";
import type { PoolClient } from "pg";
import type { ServiceDure } from "../chassis/messaging.ts";
import {
  DeliveryFailed,
  OrderCreated,
  PaymentFailed,
  StockReservationFailed,
} from "../contracts/events.ts";
import type { CancelReason } from "../contracts/events.ts";
import { keysOf, undoOf } from "./domain.ts";
import type { PaymentStatus } from "./domain.ts";
import { addHistory } from "./history.ts";
import * as sql from "./payment-sql.ts";

/** What a message must have to be the cause of something. */
interface Cause extends MessageContext {
  readonly id: string;
}

type Tx = ServiceTransaction<PoolClient>;
type Created = Parameters<typeof OrderCreated.of>[0];

/**
 * Registers the handlers. Each writes what is to be asked of the provider and asks nothing itself:
 * its transaction is the inbox's, so it commits with the dedup record or not at all. `onDue` is called
 * before that commit.
 */
export function registerHandlers(dure: ServiceDure, onDue: () => void): void {
  const barrier = postgresParticipantBarrier();
  dure.on(OrderCreated, {}, async (message, tx) => {
    await beginCharge(tx, barrier, message.data, causeOf(message));
    onDue();
  });
  const undoCharge = async (message: Cause & { readonly data: Undo }, tx: Tx): Promise<void> => {
    await compensate(tx, barrier, message.data, causeOf(message));
    onDue();
  };
  dure.on(StockReservationFailed, {}, undoCharge);
  dure.on(DeliveryFailed, {}, undoCharge);
}

/** What both compensating events say. */
interface Undo {
  readonly orderId: string;
  readonly sagaId: string;
  readonly reason: CancelReason;
}

/** The intent to charge; of a charge that was compensated before it came, only the record. */
async function beginCharge(
  tx: Tx,
  barrier: ParticipantBarrier,
  order: Created,
  cause: MessageContext,
): Promise<void> {
  const { charge, refund } = keysOf(order.sagaId);
  const { orderId, sagaId, userId, amount, currency } = order;
  const facts = [orderId, sagaId, userId, amount, currency, JSON.stringify(order.items)];
  try {
    await barrier.forward(tx, { key: charge }, async () => {
      const values = [...facts, charge, refund, order.payment.token, JSON.stringify(cause)];
      await tx.client.query(sql.insertPayment, values);
      await addHistory(tx, orderId, "payment PROCESSING", { amount });
      return null;
    });
  } catch (error) {
    if (!isDureError(error, "STEP_COMPENSATED")) throw error;
    // The compensation has told the order already, so that nothing is emitted here. Without a row
    // in refused_charges this is a repetition of a charge that was done and undone.
    const values = [...facts, charge, refund, JSON.stringify(cause)];
    const { rows } = await tx.client.query<{ reason: string }>(sql.insertRefusedPayment, values);
    const [refused] = rows;
    if (refused === undefined) return;
    await addHistory(tx, orderId, "payment FAILED", { reason: refused.reason, refused: true });
  }
}

/**
 * Undoes the charge, whatever became of it. It never came: it is refused from now on, and the order
 * hears at once that nothing is charged. It is under way: canceled by its key, which settles the doubt.
 * It is done: refunded.
 */
async function compensate(
  tx: Tx,
  barrier: ParticipantBarrier,
  { orderId, sagaId, reason }: Undo,
  cause: MessageContext,
): Promise<void> {
  const { charge, refund } = keysOf(sagaId);
  const outcome = await barrier.compensate(tx, { key: refund, compensates: charge }, async () => {
    await undo(tx, charge, { orderId, reason, cause });
    return null;
  });
  if (outcome.kind !== "nothing-to-undo") return;
  const { rowCount } = await tx.client.query(sql.insertRefusedCharge, [charge, orderId, reason]);
  if (rowCount !== 1) return;
  await addHistory(tx, orderId, "charge refused in advance", { reason }, "compensation");
  tx.emit(PaymentFailed, { orderId, sagaId, reason });
}

async function undo(
  tx: Tx,
  chargeKey: string,
  undoing: { readonly orderId: string; readonly reason: string; readonly cause: MessageContext },
): Promise<void> {
  const found = await tx.client.query<{ id: string; status: PaymentStatus }>(sql.lockByKey, [
    chargeKey,
  ]);
  const [payment] = found.rows;
  if (payment === undefined) throw new Error(`${chargeKey} is done, but there is no payment`);
  const what = undoOf(payment.status);
  if (what === "nothing") return;
  const { orderId, reason, cause } = undoing;
  const begin = what === "refund" ? sql.beginRefund : sql.beginCancel;
  await tx.client.query(begin, [payment.id, reason, JSON.stringify(cause)]);
  const line = what === "refund" ? "payment REFUNDING" : "charge canceled";
  await addHistory(tx, orderId, line, { reason }, "compensation");
}

/** What the events that come of a message belong to, whenever they come. */
function causeOf(message: Cause): MessageContext {
  return {
    correlationId: message.correlationId ?? message.id,
    causationId: message.id,
    traceparent: message.traceparent,
    tracestate: message.tracestate,
  };
}
