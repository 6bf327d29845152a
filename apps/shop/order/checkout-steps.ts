import { StepRefusedError } from "dure";
import type { CompensationCall, SagaReason, StepCall } from "dure";
import type { Pool } from "pg";
import { startDelivery } from "../contracts/http/delivery-steps.ts";
import {
  cancelReservation,
  confirmReservation,
  reserveStock,
  unconfirmReservation,
} from "../contracts/http/inventory-steps.ts";
import type { Pieces } from "../contracts/http/inventory-steps.ts";
import type { CancelReason, OrderStage } from "../contracts/http/orders.ts";
import {
  authorizePayment,
  capturePayment,
  chargePayment,
  refundCharge,
  voidPayment,
} from "../contracts/http/payment-steps.ts";
import type { PayWithCard } from "../contracts/http/payment-steps.ts";
import type { CardToken } from "../contracts/http/provider.ts";
import type { StepOwner } from "../contracts/http/step.ts";
import { cancelReasonOf, stagesBefore, wayTo } from "./domain.ts";
import * as sql from "./checkout-sql.ts";
import { lockKnownOrder, moveOrder } from "./order-moves.ts";
import type { LockedOrder, OrderTransaction } from "./order-moves.ts";
import { listPieces } from "./order-sql.ts";
import type { AskParticipant } from "./step-calls.ts";

/** What a checkout is started with. The lines stay in the order: a saga's input is small. */
export interface CheckoutInput {
  readonly orderId: string;
  readonly userId: string;
  readonly amount: number;
  readonly token: CardToken;
}

/** What the steps work with. */
export interface CheckoutParts {
  readonly pool: Pool;
  readonly ask: AskParticipant;
  /** In the transaction that completes an order: somebody may have wanted it canceled meanwhile. */
  readonly onCompleted: (tx: OrderTransaction, order: LockedOrder) => Promise<void>;
}

interface Step {
  readonly input: CheckoutInput;
  readonly call: StepCall;
}

interface Undoing {
  readonly input: CheckoutInput;
  readonly call: CompensationCall;
  readonly reason: SagaReason;
}

interface InTransaction {
  readonly tx: OrderTransaction;
}

/**
 * The checkout goes on for about a minute and a half while a participant does not answer or throttles:
 * then it is undone. With its retries one attempt may take 16 seconds.
 */
const timeoutMs = 20_000;
const patient = { attempts: 30, baseMs: 100, maxMs: 5_000 } as const;
/** There is no way back: it goes on over a deployment, and is parked after some ten minutes. */
const stubborn = { attempts: 60, baseMs: 100, maxMs: 20_000 } as const;

/** The steps of the orchestrated checkout, as values that both of its sagas are made of. */
export type CheckoutSteps = ReturnType<typeof createCheckoutSteps>;

/**
 * Makes the steps. Beside the call itself a remote step writes down how far the order has come: in a
 * statement of its own, guarded, that a repeated attempt repeats. Whoever undoes says so first.
 */
// oxlint-disable-next-line typescript/explicit-module-boundary-types -- the saga's builder infers from the values
export function createCheckoutSteps({ pool, ask, onCompleted }: CheckoutParts) {
  const advance = async ({ orderId }: CheckoutInput, stage: OrderStage): Promise<void> => {
    await pool.query(sql.advanceOrder, [orderId, stage, stagesBefore(stage)]);
  };
  /** What a call that undoes says, once the order shows that it is being undone. */
  const undoing = async ({ input, call, reason }: Undoing) => {
    const why = cancelReasonOf(reason);
    await pool.query(sql.beginCanceling, [input.orderId, why]);
    const body = { orderId: input.orderId, sagaId: call.sagaId, reason: why };
    return { body, call, compensates: call.compensates };
  };
  const ownerOf = ({ input, call }: Step): StepOwner => ({
    orderId: input.orderId,
    sagaId: call.sagaId,
  });
  return {
    createOrder: createOrderStep(),
    reserveStock: {
      action: "inventory-reserve",
      timeoutMs,
      retry: patient,
      async run(step: Step): Promise<void> {
        const { rows } = await pool.query<Pieces>(listPieces, [step.input.orderId]);
        const body = { ...ownerOf(step), items: rows };
        const { call } = step;
        const refusals = sameWord("OUT_OF_STOCK", "HELD_BY_ANOTHER_ORDER", "UNKNOWN_PRODUCT");
        await ask("inventory", { contract: reserveStock, body, call, refusals });
        await advance(step.input, "STOCK_RESERVED");
      },
      compensationAction: "inventory-cancel",
      async compensate(step: Undoing): Promise<void> {
        const question = await undoing(step);
        await ask("inventory", { contract: cancelReservation, ...question });
      },
    },
    authorizePayment: {
      action: "payment-authorize",
      timeoutMs,
      retry: patient,
      async run(step: Step): Promise<void> {
        const question = { contract: authorizePayment, body: paymentOf(step), call: step.call };
        await ask("payment", { ...question, refusals: declined });
        await advance(step.input, "PAYMENT_AUTHORIZED");
      },
      compensationAction: "payment-void",
      async compensate(step: Undoing): Promise<void> {
        const question = await undoing(step);
        await ask("payment", { contract: voidPayment, ...question });
      },
    },
    chargePayment: {
      action: "payment-charge",
      timeoutMs,
      retry: patient,
      async run(step: Step): Promise<void> {
        const question = { contract: chargePayment, body: paymentOf(step), call: step.call };
        await ask("payment", { ...question, refusals: declined });
        await advance(step.input, "PAYMENT_CHARGED");
      },
      compensationAction: "payment-refund",
      async compensate(step: Undoing): Promise<void> {
        const question = await undoing(step);
        await ask("payment", { contract: refundCharge, ...question });
      },
    },
    confirmReservation: {
      action: "inventory-confirm",
      timeoutMs,
      retry: patient,
      async run(step: Step): Promise<void> {
        const question = { contract: confirmReservation, body: ownerOf(step), call: step.call };
        // Held for longer than the saga may take, so this is a checkout that stood still.
        await ask("inventory", { ...question, refusals: { RESERVATION_EXPIRED: "TIMED_OUT" } });
      },
      compensationAction: "inventory-unconfirm",
      async compensate(step: Undoing): Promise<void> {
        const question = { ...(await undoing(step)), body: ownerOf(step) };
        await ask("inventory", { contract: unconfirmReservation, ...question });
      },
    },
    capturePayment: {
      action: "payment-capture",
      timeoutMs,
      async run(step: Step): Promise<void> {
        const question = { contract: capturePayment, body: ownerOf(step), call: step.call };
        await ask("payment", { ...question, refusals: declined });
        await advance(step.input, "PAYMENT_CAPTURED");
      },
    },
    startDelivery: {
      action: "delivery-start",
      timeoutMs,
      retry: stubborn,
      async run(step: Step): Promise<void> {
        const body = { ...ownerOf(step), userId: step.input.userId };
        const refusals = sameWord("DELIVERY_REFUSED");
        await ask("delivery", { contract: startDelivery, body, call: step.call, refusals });
      },
    },
    completeOrder: {
      action: "order-complete",
      retry: stubborn,
      async local({ tx, input }: Step & InTransaction): Promise<void> {
        const order = await lockKnownOrder(tx, input.orderId);
        const path = wayTo(order.status, "COMPLETED");
        if (path === undefined || path.length === 0) return;
        await onCompleted(tx, await moveOrder(tx, order, { path, stage: "DELIVERY_STARTED" }));
      },
    },
  };
}

/**
 * The order itself was created with the start of the saga. Whoever canceled it before the saga had
 * begun has done all that there was to undo.
 */
function createOrderStep() {
  return {
    action: "order-create",
    // As long as the journal can be written, this can.
    retry: { attempts: 1_000, baseMs: 100, maxMs: 5_000 },
    async local({ tx, input }: Step & InTransaction): Promise<void> {
      const order = await lockKnownOrder(tx, input.orderId);
      if (order.status === "CANCELED") {
        throw new StepRefusedError(order.reason ?? "CANCELED_BY_USER", "it was canceled at once");
      }
      if (order.status === "PENDING") await moveOrder(tx, order, { path: ["PROCESSING"] });
    },
    compensationAction: "order-cancel",
    async compensate({ tx, input, reason }: Undoing & InTransaction): Promise<void> {
      const order = await lockKnownOrder(tx, input.orderId);
      const path = wayTo(order.status, "CANCELED");
      if (path === undefined || path.length === 0) return;
      await moveOrder(tx, order, { path, reason: order.reason ?? cancelReasonOf(reason) });
    },
  };
}

function paymentOf({ input, call }: Step): PayWithCard {
  const { orderId, userId, amount, token } = input;
  return { orderId, sagaId: call.sagaId, userId, amount, currency: "GBP", token };
}

/** VERSION_CONFLICT: the order's money is taken otherwise, or nothing is held: not by this saga. */
const declined: Readonly<Record<string, CancelReason>> = {
  PAYMENT_DECLINED: "PAYMENT_DECLINED",
  INSUFFICIENT_FUNDS: "INSUFFICIENT_FUNDS",
  VERSION_CONFLICT: "PAYMENT_DECLINED",
};

/** Where the shop's code is the customer's reason too. */
function sameWord(...codes: readonly CancelReason[]): Readonly<Record<string, CancelReason>> {
  return Object.fromEntries(codes.map((code) => [code, code]));
}
