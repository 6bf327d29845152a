import { startDelivery } from "../contracts/http/delivery-steps.ts";
import {
  cancelReservation,
  confirmReservation,
  reserveStock,
  unconfirmReservation,
} from "../contracts/http/inventory-steps.ts";
import type { Pieces } from "../contracts/http/inventory-steps.ts";
import {
  advance,
  beginUndoing,
  ownerOf,
  patient,
  sameWord,
  stubborn,
  timeoutMs,
} from "./checkout-parts.ts";
import type { CheckoutParts, ForwardStep, UndoableStep } from "./checkout-parts.ts";
import { listPieces } from "./order-sql.ts";

/** Sets the pieces aside. */
export function reserveStockStep({ pool, ask }: CheckoutParts): UndoableStep {
  return {
    action: "inventory-reserve",
    timeoutMs,
    retry: patient,
    run: async (step) => {
      const { rows } = await pool.query<Pieces>(listPieces, [step.input.orderId]);
      const body = { ...ownerOf(step), items: rows };
      const refusals = sameWord("OUT_OF_STOCK", "HELD_BY_ANOTHER_ORDER", "UNKNOWN_PRODUCT");
      await ask("inventory", { contract: reserveStock, body, call: step.call, refusals });
      await advance(pool, step, "STOCK_RESERVED");
    },
    compensationAction: "inventory-cancel",
    compensate: async (step) => {
      const question = await beginUndoing(pool, step);
      await ask("inventory", { contract: cancelReservation, ...question });
    },
  };
}

/** The pieces are the order's for good, while its money is still only held. */
export function confirmReservationStep({ pool, ask }: CheckoutParts): UndoableStep {
  return {
    action: "inventory-confirm",
    timeoutMs,
    retry: patient,
    run: async (step) => {
      const question = { contract: confirmReservation, body: ownerOf(step), call: step.call };
      // Held for longer than the saga may take, so this is a checkout that stood still.
      await ask("inventory", { ...question, refusals: { RESERVATION_EXPIRED: "TIMED_OUT" } });
    },
    compensationAction: "inventory-unconfirm",
    compensate: async (step) => {
      const question = { ...(await beginUndoing(pool, step)), body: ownerOf(step) };
      await ask("inventory", { contract: unconfirmReservation, ...question });
    },
  };
}

/** Hands the goods to the carrier. Refused, an order whose money is taken waits for a person. */
export function startDeliveryStep({ ask }: CheckoutParts): ForwardStep {
  return {
    action: "delivery-start",
    timeoutMs,
    retry: stubborn,
    run: async (step) => {
      const body = { ...ownerOf(step), userId: step.input.userId };
      const refusals = sameWord("DELIVERY_REFUSED");
      await ask("delivery", { contract: startDelivery, body, call: step.call, refusals });
    },
  };
}
