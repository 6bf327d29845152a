import { saga } from "dure";
import type { SagaDefinition } from "dure";
import type { PoolClient } from "pg";
import { z } from "zod";
import { cardTokenSchema } from "../contracts/http/provider.ts";
import type { CardToken } from "../contracts/http/provider.ts";
import { amountSchema, orderIdSchema, userIdSchema } from "../contracts/http/fields.ts";
import type { CheckoutInput } from "./checkout-parts.ts";
import type { CheckoutSteps } from "./checkout-steps.ts";

/** A checkout that a saga drives. */
export type CheckoutSaga = SagaDefinition<CheckoutInput, undefined, PoolClient>;

const inputSchema: z.ZodType<CheckoutInput, CheckoutInput> = z.strictObject({
  orderId: orderIdSchema,
  userId: userIdSchema,
  amount: amountSchema,
  // An enum reads what it writes.
  token: cardTokenSchema as z.ZodType<CardToken, CardToken>,
});

/**
 * From when on a checkout that has not reached its pivot is undone. Far less than the half hour for
 * which inventory holds its pieces, undoing included: a saga need not renew its reservation.
 */
const deadlineMs = 10 * 60_000;

const options = {
  version: 1,
  input: inputSchema,
  key: ({ orderId }: CheckoutInput) => orderId,
  deadlineMs,
  timeoutMs: 20_000,
  // Nobody waits, and giving up costs an operator's time.
  compensationRetry: { attempts: 100, baseMs: 200, maxMs: 20_000 },
} as const;

/** The money is held first, and taken when all else is certain. */
export function twoPhaseCheckout(steps: CheckoutSteps): CheckoutSaga {
  return saga("checkout-two-phase", options)
    .withClient<PoolClient>()
    .step("create-order", steps.createOrder)
    .step("reserve-stock", steps.reserveStock)
    .step("authorize-payment", steps.authorizePayment)
    .step("confirm-reservation", steps.confirmReservation)
    .pivot("capture-payment", steps.capturePayment)
    .step("start-delivery", steps.startDelivery)
    .step("complete-order", steps.completeOrder)
    .end();
}

/** The money is taken at once, and goes back when the goods cannot be delivered. */
export function onePhaseCheckout(steps: CheckoutSteps): CheckoutSaga {
  return saga("checkout-one-phase", options)
    .withClient<PoolClient>()
    .step("create-order", steps.createOrder)
    .step("reserve-stock", steps.reserveStock)
    .step("charge-payment", steps.chargePayment)
    .step("confirm-reservation", steps.confirmReservation)
    .pivot("start-delivery", steps.startDelivery)
    .step("complete-order", steps.completeOrder)
    .end();
}
