import type { AnySagaDefinition } from "dure";
import type { Pool } from "pg";
import { ulid } from "ulid";
import type { ServiceDure } from "../chassis/messaging.ts";
import type { PaymentFlow } from "../contracts/http/orders.ts";
import { onePhaseCheckout, twoPhaseCheckout } from "./checkout-sagas.ts";
import { createCheckoutSteps } from "./checkout-steps.ts";
import type { CheckoutInput } from "./checkout-parts.ts";
import { moveOrder } from "./order-moves.ts";
import type { LockedOrder, OrderTransaction } from "./order-moves.ts";
import * as sql from "./return-sql.ts";
import type { AskParticipant } from "./step-calls.ts";
import { cancelSaga, returnSaga } from "./undo-sagas.ts";

/** The sagas of the order service, each started in the transaction that makes it necessary. */
export interface OrderSagas {
  readonly definitions: readonly AnySagaDefinition[];
  startCheckout(tx: OrderTransaction, flow: PaymentFlow, start: CheckoutStart): Promise<void>;
  startReturn(tx: OrderTransaction, start: ReturnStart): Promise<void>;
  /** Undoes a completed order that somebody wanted canceled, once. The order is locked. */
  readonly undoIfCanceled: (tx: OrderTransaction, order: LockedOrder) => Promise<void>;
}

/** Whose checkout begins. */
export interface CheckoutStart {
  readonly sagaId: string;
  readonly input: CheckoutInput;
  readonly traceparent?: string | undefined;
}

/** Which return begins. */
export interface ReturnStart {
  readonly sagaId: string;
  readonly returnId: string;
  readonly traceparent?: string | undefined;
}

/** What the sagas work with. */
export interface OrderSagasOptions {
  readonly pool: Pool;
  readonly ask: AskParticipant;
  /** The service that drives them, which is made with their definitions. */
  readonly dure: () => ServiceDure;
}

/** Makes the definitions; nothing is started before the service is. */
export function createOrderSagas({ pool, ask, dure }: OrderSagasOptions): OrderSagas {
  const steps = createCheckoutSteps({ pool, ask, onCompleted: undoIfCanceled });
  const checkouts = {
    "two-phase": twoPhaseCheckout(steps),
    "one-phase": onePhaseCheckout(steps),
  } as const;
  const cancel = cancelSaga({ pool, ask });
  const giveBack = returnSaga({ pool, ask });

  async function undoIfCanceled(tx: OrderTransaction, order: LockedOrder): Promise<void> {
    const id = `SAGA-${ulid()}`;
    const { rowCount } = await tx.client.query(sql.startCancellation, [order.id, id]);
    if (rowCount !== 1) return;
    const kept = await tx.client.query<{ amount: string }>(sql.sumKept, [order.id]);
    const refund = Number(kept.rows[0]?.amount);
    await moveOrder(tx, order, { path: ["CANCELING"], reason: "CANCELED_BY_USER" });
    await dure().sagas.start(cancel, { orderId: order.id, refund }, { id, tx });
  }

  return {
    definitions: [checkouts["two-phase"], checkouts["one-phase"], cancel, giveBack],
    undoIfCanceled,
    async startCheckout(tx, flow, { sagaId: id, input, traceparent }) {
      await dure().sagas.start(checkouts[flow], input, { id, tx, traceparent });
    },
    async startReturn(tx, { sagaId: id, returnId, traceparent }) {
      await dure().sagas.start(giveBack, { returnId }, { id, tx, traceparent });
    },
  };
}
