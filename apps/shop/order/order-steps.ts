import { StepRefusedError } from "dure";
import type { RetryPolicy } from "dure";
import { stubborn } from "./checkout-parts.ts";
import type { CheckoutParts, Step, Undoing } from "./checkout-parts.ts";
import { cancelReasonOf, wayTo } from "./domain.ts";
import { lockKnownOrder, moveOrder } from "./order-moves.ts";
import type { OrderTransaction } from "./order-moves.ts";

interface InTransaction {
  readonly tx: OrderTransaction;
}

/** A step in the order service's own database. */
export interface LocalStep {
  readonly action: string;
  readonly retry: RetryPolicy;
  readonly local: (step: Step & InTransaction) => Promise<void>;
}

/** One that can be undone. */
export interface UndoableLocalStep extends LocalStep {
  readonly compensationAction: string;
  readonly compensate: (step: Undoing & InTransaction) => Promise<void>;
}

/**
 * The order itself was created with the start of the saga. Whoever canceled it before the saga had
 * begun has done all that there was to undo.
 */
export function createOrderStep(): UndoableLocalStep {
  return {
    action: "order-create",
    // As long as the journal can be written, this can.
    retry: { attempts: 1_000, baseMs: 100, maxMs: 5_000 },
    local: async ({ tx, input }) => {
      const order = await lockKnownOrder(tx, input.orderId);
      if (order.status === "CANCELED") {
        throw new StepRefusedError(order.reason ?? "CANCELED_BY_USER", "it was canceled at once");
      }
      if (order.status === "PENDING") await moveOrder(tx, order, { path: ["PROCESSING"] });
    },
    compensationAction: "order-cancel",
    compensate: async ({ tx, input, reason }) => {
      const order = await lockKnownOrder(tx, input.orderId);
      const path = wayTo(order.status, "CANCELED");
      if (path === undefined || path.length === 0) return;
      await moveOrder(tx, order, { path, reason: order.reason ?? cancelReasonOf(reason) });
    },
  };
}

/** Everything is done, and told. */
export function completeOrderStep({ onCompleted }: CheckoutParts): LocalStep {
  return {
    action: "order-complete",
    retry: stubborn,
    local: async ({ tx, input }) => {
      const order = await lockKnownOrder(tx, input.orderId);
      const path = wayTo(order.status, "COMPLETED");
      if (path === undefined || path.length === 0) return;
      await onCompleted(tx, await moveOrder(tx, order, { path, stage: "DELIVERY_STARTED" }));
    },
  };
}
