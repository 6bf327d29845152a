import type { Clock } from "dure";
import type { Pool } from "pg";
import type { ParticipantFaultInjector } from "../chassis/participant-faults.ts";
import * as sql from "./delivery-sql.ts";
import type { CarrierOutcome } from "./domain.ts";

/** Whoever takes the parcels: outside the shop, slow at times, and not always willing. */
export interface Carrier {
  /**
   * Books a parcel. A repeated key gets the decision of the first time.
   *
   * @throws Error when the carrier does not answer; whether it has decided is unknown then
   */
  book(
    parcel: { readonly key: string; readonly orderId: string },
    signal: AbortSignal,
  ): Promise<CarrierOutcome>;
}

/** A carrier in this process, with a book of its own and faults to order. */
export function createFakeCarrier(
  pool: Pool,
  faults: ParticipantFaultInjector,
  clock: Clock,
): Carrier {
  return {
    async book({ key, orderId }, signal) {
      const mishap = faults.next();
      if (mishap.latencyMs > 0) await clock.sleep(mishap.latencyMs, signal);
      signal.throwIfAborted();
      if (mishap.kind === "failure") throw new Error("the carrier did not answer");
      const wish: CarrierOutcome = mishap.kind === "refusal" ? "refused" : "accepted";
      // The dice only propose: what stands in the book first is what everyone is told.
      const decided = await pool.query<BookingRow>(sql.insertBooking, [key, orderId, wish]);
      const { rows } =
        decided.rows.length > 0 ? decided : await pool.query<BookingRow>(sql.readBooking, [key]);
      if (rows[0] === undefined) throw new Error("delivery:carrier.read follows its insert");
      return rows[0].outcome;
    },
  };
}

interface BookingRow {
  readonly outcome: CarrierOutcome;
}
