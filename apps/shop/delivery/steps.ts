import { newId } from "dure";
import type { Pool } from "pg";
import { createParticipantSteps } from "../chassis/participant-steps.ts";
import type { Answered, StepAnswer, StepTransaction } from "../chassis/participant-steps.ts";
import { ProblemError } from "../chassis/problem.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import type { StepCall } from "../chassis/step-call.ts";
import type {
  DeliveryBegun,
  DeliveryStopped,
  StartDelivery,
} from "../contracts/http/delivery-steps.ts";
import type { StepOwner } from "../contracts/http/step.ts";
import { claimedFrom } from "./deliveries.ts";
import type { ClaimRow, DeliveryDesk } from "./deliveries.ts";
import * as sql from "./delivery-sql.ts";
import type { DeliveryStatus } from "./domain.ts";

/** Delivery's steps of an orchestrated checkout, and of the saga that cancels a completed order. */
export interface DeliverySteps {
  /**
   * Writes the delivery down, then asks the carrier outside any transaction. If the process dies in
   * between, it is due in a moment, and the same key is told the same.
   *
   * @throws ProblemError DELIVERY_REFUSED for good; OUTCOME_UNKNOWN when the carrier has not answered
   */
  start(call: StepCall, body: StartDelivery): Promise<Answered<DeliveryBegun>>;
  /** @throws ProblemError VERSION_CONFLICT while the carrier has not decided */
  stop(call: StepCall, body: StepOwner): Promise<Answered<DeliveryStopped>>;
}

/** What {@link createDeliverySteps} takes. */
export interface DeliveryStepsOptions {
  readonly pool: Pool;
  readonly dure: ServiceDure;
  readonly desk: DeliveryDesk;
}

/** How long the request has the delivery to itself. */
const headStartMs = 10_000;
/** A caller waits for five seconds. */
const carrierTimeoutMs = 4_000;

/** The steps over the service's own database and the carrier. */
export function createDeliverySteps({ pool, dure, desk }: DeliveryStepsOptions): DeliverySteps {
  const steps = createParticipantSteps(dure);

  async function read(orderId: string, key: string): Promise<StepRow> {
    const { rows } = await pool.query<StepRow>(sql.readStepDelivery, [orderId, key]);
    if (rows[0] === undefined) throw new Error(`${key} was begun and is gone`);
    return rows[0];
  }

  return {
    async start(call, body) {
      const { isReplayed } = await steps.forward(call, (tx) => begin(tx, call, body));
      const begun = await read(body.orderId, call.key);
      if (begun.status === "PENDING") {
        await desk.work(claimedFrom(begun), AbortSignal.timeout(carrierTimeoutMs));
      }
      return { body: begunBy(await read(body.orderId, call.key)), isReplayed };
    },
    stop: (call, body) => steps.forward(call, (tx) => stopOnce(tx, call, body)),
  };
}

interface StepRow extends ClaimRow {
  readonly status: DeliveryStatus;
}

async function begin(
  tx: StepTransaction,
  { key, fencingToken, context }: StepCall,
  { orderId, sagaId, userId }: StartDelivery,
): Promise<StepAnswer<null>> {
  const { rowCount } = await tx.client.query(sql.insertStepDelivery, [
    orderId,
    `DEL-${newId()}`,
    sagaId,
    userId,
    key,
    fencingToken,
    context.correlationId,
    context.traceparent,
    headStartMs,
  ]);
  if (rowCount === 1) return { kind: "done", body: null };
  return { kind: "refused", code: "VERSION_CONFLICT", detail: "The order has a delivery." };
}

async function stopOnce(
  tx: StepTransaction,
  { key }: StepCall,
  { orderId, sagaId }: StepOwner,
): Promise<StepAnswer<DeliveryStopped>> {
  const { rows } = await tx.client.query<{ status: DeliveryStatus }>(sql.lockDelivery, [orderId]);
  const status = rows[0]?.status;
  // Thrown, so that it is not remembered: the carrier's answer is on its way.
  if (status === "PENDING") {
    throw new ProblemError("VERSION_CONFLICT", "The carrier has not decided about the delivery.");
  }
  if (status === "STARTED") await tx.client.query(sql.stopDelivery, [orderId, sagaId, key]);
  const isStopped = status === "STARTED" || status === "STOPPED";
  return { kind: "done", body: { status: isStopped ? "STOPPED" : "NOTHING_TO_STOP" } };
}

function begunBy({ status, delivery_id: deliveryId }: StepRow): DeliveryBegun {
  switch (status) {
    case "PENDING":
      throw new ProblemError("OUTCOME_UNKNOWN", "The carrier has not answered; ask again.", {
        retryAfterMs: 1_000,
      });
    case "REFUSED":
      throw new ProblemError("DELIVERY_REFUSED", "The carrier refuses for good.");
    case "STARTED":
    case "STOPPED":
      return { status: "STARTED", deliveryId };
  }
}
