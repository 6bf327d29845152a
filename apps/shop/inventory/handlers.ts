import { isDureError } from "dure";
import type { EventOutput, ServiceTransaction } from "dure";
import { postgresParticipantBarrier } from "dure/postgres";
import type { ServiceDure } from "../chassis/messaging.ts";
import {
  DeliveryFailed,
  DeliveryStarted,
  PaymentCompleted,
  StockChanged,
  StockReleased,
  StockReservationFailed,
  StockReserved,
} from "../contracts/events.ts";
import { stepKeys, sumByProduct } from "./domain.ts";
import { confirm, release, reserve } from "./reservations.ts";
import type { Reservation } from "./reservations.ts";
import type { LockWait } from "./stock.ts";

type Barrier = ReturnType<typeof postgresParticipantBarrier>;

/**
 * Inventory's part in a choreographed checkout. Each handler is one inbox transaction: stock,
 * reservation, barrier and events commit together, or nothing has happened.
 */
export function registerHandlers(dure: ServiceDure): void {
  const barrier = postgresParticipantBarrier();
  const transactions = new WeakMap<ServiceTransaction, Set<string>>();
  const enter = (tx: ServiceTransaction): Turn => enterTransaction(tx, transactions);

  dure.on(PaymentCompleted, {}, ({ data }, tx) => onPaid(barrier, data, tx, enter(tx)));
  dure.on(DeliveryStarted, {}, ({ data }, tx) => onDelivered(barrier, data, tx, enter(tx)));
  dure.on(DeliveryFailed, {}, ({ data }, tx) => onNotDelivered(barrier, data, tx, enter(tx)));
}

async function onPaid(
  barrier: Barrier,
  data: EventOutput<typeof PaymentCompleted>,
  tx: ServiceTransaction,
  turn: Turn,
): Promise<void> {
  const { orderId, sagaId, userId, items } = data;
  const key = stepKeys.reserve(sagaId);
  // Nobody asks again before the goods leave, so this reservation must not run out.
  const call = { orderId, sagaId, key, canExpire: false };
  const outcome = await barrier
    .forward<Reservation>(tx, { key }, () => reserve(tx, call, items, turn.wait))
    .catch((error: unknown) => {
      // The order was undone before its turn came: its money goes back by the same event.
      if (isDureError(error, "STEP_COMPENSATED")) return undefined;
      throw error;
    });
  // Who did it before has told everyone in the same commit.
  if (outcome?.kind !== "executed") return;
  const { answer } = outcome;
  if (answer.kind === "refused") {
    const { reason, productId } = answer;
    tx.emit(StockReservationFailed, { orderId, sagaId, reason, productId });
    return;
  }
  tx.emit(StockReserved, { orderId, sagaId, userId });
  turn.changed(sumByProduct(items).map((item) => item.productId));
}

async function onDelivered(
  barrier: Barrier,
  { orderId, sagaId }: EventOutput<typeof DeliveryStarted>,
  tx: ServiceTransaction,
  turn: Turn,
): Promise<void> {
  await barrier.forward(tx, { key: stepKeys.confirm(sagaId) }, async () => {
    turn.changed(await confirm(tx, { orderId, sagaId }, turn.wait));
  });
}

async function onNotDelivered(
  barrier: Barrier,
  { orderId, sagaId, reason }: EventOutput<typeof DeliveryFailed>,
  tx: ServiceTransaction,
  turn: Turn,
): Promise<void> {
  const call = { key: stepKeys.cancel(sagaId), compensates: stepKeys.reserve(sagaId) };
  const outcome = await barrier.compensate(tx, call, async () => {
    turn.changed(await release(tx, { orderId, sagaId }, reason, turn.wait));
  });
  // Also when there was nothing to undo: the order waits for this to be CANCELED.
  if (outcome.kind !== "replayed") tx.emit(StockReleased, { orderId, sagaId, reason });
}

/** What one message must know of those before it in the same transaction. */
interface Turn {
  readonly wait: LockWait;
  /** Tells caches about the products, each once per transaction. */
  changed(productIds: readonly string[]): void;
}

/**
 * Messages of a partition share a transaction, and each takes its rows in order, but together they
 * do not. So only the first may wait for a row; a later one that would have to wait fails the
 * batch, whose messages then get a transaction each. Nobody ever waits in a ring.
 */
function enterTransaction(
  tx: ServiceTransaction,
  transactions: WeakMap<ServiceTransaction, Set<string>>,
): Turn {
  const known = transactions.get(tx);
  const told = known ?? new Set<string>();
  transactions.set(tx, told);
  return {
    wait: known === undefined ? "wait" : "give-up",
    changed(productIds) {
      const news = productIds.filter((productId) => !told.has(productId));
      for (const productId of news) told.add(productId);
      if (news.length > 0) tx.emit(StockChanged, { productIds: news });
    },
  };
}
