import type { CheckoutParts, ForwardStep, UndoableStep } from "./checkout-parts.ts";
import { completeOrderStep, createOrderStep } from "./order-steps.ts";
import type { LocalStep, UndoableLocalStep } from "./order-steps.ts";
import { authorizePaymentStep, capturePaymentStep, chargePaymentStep } from "./payment-steps.ts";
import { confirmReservationStep, reserveStockStep, startDeliveryStep } from "./stock-steps.ts";

/**
 * The steps of the orchestrated checkout, as values that both of its sagas are made of. Beside the call
 * itself a remote step writes down how far the order has come, in a guarded statement of its own that a
 * repeated attempt repeats; whoever undoes a step says first that the order is being undone.
 */
export interface CheckoutSteps {
  readonly createOrder: UndoableLocalStep;
  readonly reserveStock: UndoableStep;
  readonly authorizePayment: UndoableStep;
  readonly chargePayment: UndoableStep;
  readonly confirmReservation: UndoableStep;
  readonly capturePayment: ForwardStep;
  readonly startDelivery: ForwardStep;
  readonly completeOrder: LocalStep;
}

/** Makes the steps. */
export function createCheckoutSteps(parts: CheckoutParts): CheckoutSteps {
  return {
    createOrder: createOrderStep(),
    reserveStock: reserveStockStep(parts),
    authorizePayment: authorizePaymentStep(parts),
    chargePayment: chargePaymentStep(parts),
    confirmReservation: confirmReservationStep(parts),
    capturePayment: capturePaymentStep(parts),
    startDelivery: startDeliveryStep(parts),
    completeOrder: completeOrderStep(parts),
  };
}
