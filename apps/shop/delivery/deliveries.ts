import type { Clock, MessageContext } from "dure";
import type { Pool } from "pg";
import type { ServiceDure } from "../chassis/messaging.ts";
import { DeliveryFailed, DeliveryStarted } from "../contracts/events.ts";
import type { Carrier } from "./carrier.ts";
import * as sql from "./delivery-sql.ts";
import { restMs, statusAfter } from "./domain.ts";
import type { CarrierOutcome } from "./domain.ts";

/** A delivery that this instance has taken for a while. */
export interface ClaimedDelivery {
  readonly id: string;
  readonly orderId: string;
  readonly deliveryId: string;
  readonly sagaId: string;
  readonly key: string;
  readonly attempt: number;
  readonly context: MessageContext;
  /** Nobody waits for events of it. */
  readonly isOrchestrated: boolean;
}

/** What the desk of deliveries works with. */
export interface DeliveryDeskOptions {
  readonly pool: Pool;
  readonly dure: ServiceDure;
  readonly carrier: Carrier;
  readonly clock: Clock;
}

/** Takes pending deliveries to the carrier and records its answers. */
export interface DeliveryDesk {
  claim(limit: number): Promise<readonly ClaimedDelivery[]>;
  renew(deliveries: readonly ClaimedDelivery[]): Promise<void>;
  /**
   * Asks the carrier, outside any transaction, and records its answer together with the event. If
   * the process dies in between, the next one asks again with the same key and is told the same.
   */
  work(delivery: ClaimedDelivery, signal: AbortSignal): Promise<void>;
}

const claimMs = 10_000;

/** Claims are renewed several times before they could run out. */
export const renewEveryMs = 2500;

/** A desk over the service's own database. */
export function createDeliveryDesk(options: DeliveryDeskOptions): DeliveryDesk {
  const { pool, dure, carrier, clock } = options;

  async function settle(delivery: ClaimedDelivery, outcome: CarrierOutcome): Promise<void> {
    const { id, orderId, sagaId, deliveryId, context, isOrchestrated } = delivery;
    const status = statusAfter(outcome);
    const reason = status === "REFUSED" ? "DELIVERY_REFUSED" : null;
    await dure.transaction(
      async (tx) => {
        const { rowCount } = await tx.query(sql.settleDelivery, [status, reason, id]);
        if (rowCount === 0 || isOrchestrated) return;
        if (reason === null) tx.emit(DeliveryStarted, { orderId, sagaId, deliveryId });
        else tx.emit(DeliveryFailed, { orderId, sagaId, reason });
      },
      { context },
    );
  }

  return {
    async claim(limit) {
      const { rows } = await pool.query<ClaimRow>(sql.claimDeliveries, [claimMs, limit]);
      return rows.map(claimedFrom);
    },
    async renew(deliveries) {
      await pool.query(sql.renewClaims, [claimMs, deliveries.map((delivery) => delivery.id)]);
    },
    async work(delivery, signal) {
      const { id, attempt } = delivery;
      try {
        await settle(delivery, await carrier.book(delivery, signal));
      } catch (error) {
        // Who stops gives it back at once and blames nobody.
        const rest = signal.aborted ? [0, null] : [restMs(attempt, clock), String(error)];
        await pool.query(sql.postponeDelivery, [...rest, id, attempt]);
      }
    },
  };
}

/** A delivery's row, of a claim or of a step. */
export interface ClaimRow {
  readonly id: string;
  readonly order_id: string;
  readonly delivery_id: string;
  readonly saga_id: string;
  readonly idempotency_key: string;
  readonly attempt_count: number;
  readonly correlation_id: string | null;
  readonly causation_id: string | null;
  readonly traceparent: string | null;
  readonly tracestate: string | null;
  readonly is_orchestrated: boolean;
}

/** The delivery of a row. */
export function claimedFrom(row: ClaimRow): ClaimedDelivery {
  return {
    id: row.id,
    orderId: row.order_id,
    deliveryId: row.delivery_id,
    sagaId: row.saga_id,
    key: row.idempotency_key,
    attempt: row.attempt_count,
    isOrchestrated: row.is_orchestrated,
    context: {
      correlationId: row.correlation_id ?? undefined,
      causationId: row.causation_id ?? undefined,
      traceparent: row.traceparent ?? undefined,
      tracestate: row.tracestate ?? undefined,
    },
  };
}
