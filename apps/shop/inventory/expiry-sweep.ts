import type { Pool } from "pg";
import { sweepAsLeader } from "../chassis/leader-sweep.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import { StockChanged, StockReservationExpired } from "../contracts/events.ts";
import type { ReservationOwner } from "./domain.ts";
import { noteHistory } from "./history.ts";
import { releaseExpired } from "./saga-stock.ts";
import * as sql from "./step-sql.ts";

/** What the sweep works with. */
export interface ExpirySweepOptions {
  readonly pool: Pool;
  readonly dure: ServiceDure;
  readonly everyMs: number;
}

const sagasMax = 100;

/**
 * Releases what sagas hold for too long, until the signal aborts, and tells each saga in the same
 * commit. One instance sweeps at a time; should two, who comes second finds nothing. Never rejects.
 */
export function sweepExpiredReservations(
  { pool, dure, everyMs }: ExpirySweepOptions,
  signal: AbortSignal,
): Promise<void> {
  return sweepAsLeader(
    { dure, name: "inventory.expired-reservations", everyMs },
    async ({ signal: ending }) => {
      const { rows } = await pool.query<ExpiredRow>(sql.listExpired, [sagasMax]);
      for (const row of rows) {
        if (ending.aborted) return;
        await expire(dure, { orderId: row.order_id, sagaId: row.saga_id });
      }
    },
    signal,
  );
}

async function expire(dure: ServiceDure, owner: ReservationOwner): Promise<void> {
  await dure.transaction(async (tx) => {
    const productIds = await releaseExpired(tx, owner);
    if (productIds.length === 0) return;
    await noteHistory(tx, owner, "EXPIRED");
    tx.emit(StockReservationExpired, owner);
    tx.emit(StockChanged, { productIds: [...productIds] });
  });
}

interface ExpiredRow {
  readonly order_id: string;
  readonly saga_id: string;
}
