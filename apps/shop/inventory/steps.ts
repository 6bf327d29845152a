import { createParticipantSteps } from "../chassis/participant-steps.ts";
import type { Answered, StepAnswer, StepTransaction } from "../chassis/participant-steps.ts";
import { ProblemError } from "../chassis/problem.ts";
import type { CompensatingCall, StepCall } from "../chassis/step-call.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import { StockChanged } from "../contracts/events.ts";
import type {
  CancelReservation,
  Confirmed,
  HeldUntil,
  ReserveStock,
  RestockPieces,
  Restocked,
} from "../contracts/http/inventory-steps.ts";
import type { StepOwner, Undone } from "../contracts/http/step.ts";
import { noteHistory } from "./history.ts";
import type { HistoryFacts } from "./history.ts";
import { reserve } from "./reservations.ts";
import { confirmHeld, releaseHeld, renew, restock, unconfirmHeld } from "./saga-stock.ts";

/** Inventory's steps of an orchestrated checkout; each is one transaction, barrier included. */
export interface InventorySteps {
  reserve(call: StepCall, body: ReserveStock): Promise<Answered<HeldUntil>>;
  cancel(call: CompensatingCall, body: CancelReservation): Promise<Answered<Undone>>;
  confirm(call: StepCall, body: StepOwner): Promise<Answered<Confirmed>>;
  unconfirm(call: CompensatingCall, body: StepOwner): Promise<Answered<Undone>>;
  restock(call: StepCall, body: RestockPieces): Promise<Answered<Restocked>>;
  /** @throws ProblemError RESERVATION_EXPIRED when nothing is held (any more) */
  renew(body: StepOwner): Promise<HeldUntil>;
}

/** The steps over the service's own database. */
export function createInventorySteps(dure: ServiceDure): InventorySteps {
  const steps = createParticipantSteps(dure);
  return {
    reserve: (call, body) => steps.forward(call, (tx) => reserveOnce(tx, call, body)),
    confirm: (call, body) => steps.forward(call, (tx) => confirmOnce(tx, call, body)),
    restock: (call, body) => steps.forward(call, (tx) => restockOnce(tx, call, body)),
    async cancel(call, body) {
      const answered = await steps.compensate(call, async (tx) => {
        const changed = await releaseHeld(tx, body);
        await noteHistory(tx, body, "RELEASED", { reason: body.reason, ...factsOf(call) });
        return undone(tx, changed);
      });
      return answered ?? nothingToUndo;
    },
    async unconfirm(call, body) {
      const answered = await steps.compensate(call, async (tx, forward) => {
        // A refused confirmation sold nothing; what is sold was sold by another call.
        const changed = forward.kind === "refused" ? [] : await unconfirmHeld(tx, body);
        if (changed.length > 0) await noteHistory(tx, body, "UNCONFIRMED", factsOf(call));
        return undone(tx, changed);
      });
      return answered ?? nothingToUndo;
    },
    async renew(body) {
      const expiresAt = await dure.transaction((tx) => renewOnce(tx, body));
      if (expiresAt === undefined) throw new ProblemError("RESERVATION_EXPIRED", notHeld);
      return { expiresAt };
    },
  };
}

const notHeld = "The saga holds nothing (any more): its reservation ran out or was released.";

const nothingToUndo: Answered<Undone> = {
  body: { outcome: "nothing-to-undo" },
  isReplayed: false,
};

async function reserveOnce(
  tx: StepTransaction,
  { key, fencingToken }: StepCall,
  { orderId, sagaId, items }: ReserveStock,
): Promise<StepAnswer<HeldUntil>> {
  const call = { orderId, sagaId, key, canExpire: true, fencingToken };
  const reservation = await reserve(tx, call, items, "wait");
  if (reservation.kind === "refused") {
    const { reason, productId } = reservation;
    return { kind: "refused", code: reason, detail: `Product ${productId} cannot be reserved.` };
  }
  tellCaches(
    tx,
    items.map((item) => item.productId),
  );
  return { kind: "done", body: { expiresAt: reservation.expiresAt } };
}

async function confirmOnce(
  tx: StepTransaction,
  call: StepCall,
  { orderId, sagaId }: StepOwner,
): Promise<StepAnswer<Confirmed>> {
  const owner = { orderId, sagaId };
  const changed = await confirmHeld(tx, owner);
  await noteHistory(
    tx,
    owner,
    changed === undefined ? "CONFIRM_REFUSED" : "CONFIRMED",
    factsOf(call),
  );
  if (changed === undefined) {
    return { kind: "refused", code: "RESERVATION_EXPIRED", detail: notHeld };
  }
  tellCaches(tx, changed);
  return { kind: "done", body: { status: "CONFIRMED" } };
}

async function restockOnce(
  tx: StepTransaction,
  call: StepCall,
  { orderId, sagaId, returnId, items }: RestockPieces,
): Promise<StepAnswer<Restocked>> {
  const changed = await restock(tx, orderId, items);
  if (changed === undefined) {
    const detail = "The order has fewer sold pieces than are to come back.";
    return { kind: "refused", code: "NO_MATCHING_PURCHASE", detail };
  }
  await noteHistory(tx, { orderId, sagaId }, "RESTOCKED", { returnId, ...factsOf(call) });
  tellCaches(tx, changed);
  return { kind: "done", body: { status: "RESTOCKED" } };
}

async function renewOnce(tx: StepTransaction, body: StepOwner): Promise<string | undefined> {
  const expiresAt = await renew(tx, body);
  if (expiresAt !== undefined) await noteHistory(tx, body, "RENEWED");
  return expiresAt;
}

function undone(tx: StepTransaction, changed: readonly string[]): Undone {
  tellCaches(tx, changed);
  return { outcome: changed.length > 0 ? "undone" : "nothing-to-undo" };
}

function factsOf({ key, fencingToken }: StepCall): HistoryFacts {
  return { stepKey: key, fencingToken };
}

function tellCaches(tx: StepTransaction, productIds: readonly string[]): void {
  if (productIds.length > 0) tx.emit(StockChanged, { productIds: [...new Set(productIds)] });
}
