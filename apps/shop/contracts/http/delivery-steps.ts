import { z } from "zod";
import { userIdSchema } from "./fields.ts";
import { stepOwner, stepOwnerSchema } from "./step.ts";
import type { StepContract, StepOwner } from "./step.ts";

/** Hands an order's goods to the carrier. */
export interface StartDelivery extends StepOwner {
  readonly userId: string;
}

/** The carrier has them. */
export interface DeliveryBegun {
  readonly status: "STARTED";
  readonly deliveryId: string;
}

/** 409 DELIVERY_REFUSED: the carrier refuses for good; VERSION_CONFLICT: it is delivered otherwise. */
export const startDelivery: StepContract<StartDelivery, DeliveryBegun> = {
  path: "/internal/steps/delivery-start",
  body: z.strictObject({ ...stepOwner, userId: userIdSchema }),
  answer: z.strictObject({ status: z.literal("STARTED"), deliveryId: z.string() }),
};

/** `NOTHING_TO_STOP`: there is no delivery, or the carrier had refused it. */
export interface DeliveryStopped {
  readonly status: "STOPPED" | "NOTHING_TO_STOP";
}

/**
 * A step of the saga that cancels a completed order; compensates nothing. 409 VERSION_CONFLICT while
 * the carrier has not decided about the delivery.
 */
export const stopDelivery: StepContract<StepOwner, DeliveryStopped> = {
  path: "/internal/steps/delivery-stop",
  body: stepOwnerSchema,
  answer: z.strictObject({ status: z.enum(["STOPPED", "NOTHING_TO_STOP"]) }),
};
