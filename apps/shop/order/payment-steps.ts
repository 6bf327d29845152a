import type { CancelReason } from "../contracts/http/orders.ts";
import {
  authorizePayment,
  capturePayment,
  chargePayment,
  refundCharge,
  voidPayment,
} from "../contracts/http/payment-steps.ts";
import type { PayWithCard } from "../contracts/http/payment-steps.ts";
import { advance, beginUndoing, ownerOf, patient, timeoutMs } from "./checkout-parts.ts";
import type { CheckoutParts, ForwardStep, Step, UndoableStep } from "./checkout-parts.ts";

/** Holds the money. */
export function authorizePaymentStep({ pool, ask }: CheckoutParts): UndoableStep {
  return {
    action: "payment-authorize",
    timeoutMs,
    retry: patient,
    run: async (step) => {
      const question = { contract: authorizePayment, body: paymentOf(step), call: step.call };
      await ask("payment", { ...question, refusals: declined });
      await advance(pool, step, "PAYMENT_AUTHORIZED");
    },
    compensationAction: "payment-void",
    compensate: async (step) => {
      const question = await beginUndoing(pool, step);
      await ask("payment", { contract: voidPayment, ...question });
    },
  };
}

/** Takes the money at once. */
export function chargePaymentStep({ pool, ask }: CheckoutParts): UndoableStep {
  return {
    action: "payment-charge",
    timeoutMs,
    retry: patient,
    run: async (step) => {
      const question = { contract: chargePayment, body: paymentOf(step), call: step.call };
      await ask("payment", { ...question, refusals: declined });
      await advance(pool, step, "PAYMENT_CHARGED");
    },
    compensationAction: "payment-refund",
    compensate: async (step) => {
      const question = await beginUndoing(pool, step);
      await ask("payment", { contract: refundCharge, ...question });
    },
  };
}

/** Takes the money that is held. Asked until it is known, however long that takes. */
export function capturePaymentStep({ pool, ask }: CheckoutParts): ForwardStep {
  return {
    action: "payment-capture",
    timeoutMs,
    run: async (step) => {
      const question = { contract: capturePayment, body: ownerOf(step), call: step.call };
      await ask("payment", { ...question, refusals: declined });
      await advance(pool, step, "PAYMENT_CAPTURED");
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
