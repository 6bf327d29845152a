import type { ServiceDure } from "../chassis/messaging.ts";
import { ProblemError } from "../chassis/problem.ts";
import type { OrderView } from "../contracts/http/orders.ts";
import { lockOrder, moveOrder } from "./order-moves.ts";
import type { LockedOrder, OrderTransaction } from "./order-moves.ts";
import type { OrderSagas } from "./order-sagas.ts";
import { readOrder } from "./orders.ts";
import type { Owner } from "./orders.ts";
import * as sql from "./return-sql.ts";

/** What canceling needs. */
export interface CancelOptions {
  readonly dure: ServiceDure;
  readonly sagas: OrderSagas;
}

/** Who wants which order canceled. */
export interface CancelRequest {
  readonly orderId: string;
  readonly userId: string;
  /** Whose orders the user may cancel. */
  readonly owner: Owner;
}

/** What became of the wish: 202 where the undoing is still to come. */
export interface CancelAnswer {
  readonly status: number;
  readonly body: OrderView;
}

/** Cancels orders, in the transaction of the request. */
export type CancelOrder = (tx: OrderTransaction, request: CancelRequest) => Promise<CancelAnswer>;

/**
 * Makes it. The wish is written down under the order's lock, together with what follows from it: a
 * checkout under way is told to turn back, and the one that is past its pivot, or follows events, is
 * undone once it is completed, by the transaction that completes it.
 */
export function createCancel({ dure, sagas }: CancelOptions): CancelOrder {
  async function cancel(tx: OrderTransaction, order: LockedOrder, userId: string): Promise<number> {
    switch (order.status) {
      case "CANCELING":
      case "CANCELED":
        return 200;
      case "NEEDS_ATTENTION":
        throw new ProblemError("ORDER_NEEDS_ATTENTION", "An operator decides how it goes on.");
      case "PENDING":
      case "PROCESSING":
      case "COMPLETED":
    }
    await tx.client.query(sql.insertCancellation, [order.id, userId]);
    if (order.status === "COMPLETED") await sagas.undoIfCanceled(tx, order);
    if (order.mode === "choreography" || order.status === "COMPLETED") return 202;
    if (order.status === "PENDING") {
      // Its saga has done nothing yet, and will find that there is nothing to do.
      const path = ["CANCELING", "CANCELED"] as const;
      await moveOrder(tx, order, { path, reason: "CANCELED_BY_USER" });
      return 200;
    }
    const wish = { actor: userId, reason: "CANCELED_BY_USER", tx } as const;
    await dure.sagas.cancel(order.saga_id, wish);
    return 202;
  }

  return async (tx, { orderId, userId, owner }) => {
    const order = await lockOrder(tx, orderId);
    if (order === undefined || (owner !== undefined && order.user_id !== owner)) {
      throw new ProblemError("NOT_FOUND", "There is no such order.");
    }
    const status = await cancel(tx, order, userId);
    return { status, body: await readOrder(tx.client, orderId, owner) };
  };
}
