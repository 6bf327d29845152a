import type { TransactionHandle } from "dure";
import type { ReservationOwner } from "./domain.ts";
import * as sql from "./stock-sql.ts";

/** What inventory does for an order. */
export type HistoryLine =
  | "RESERVED"
  | "REFUSED"
  | "CONFIRMED"
  | "RELEASED"
  | "CONFIRM_REFUSED"
  | "UNCONFIRMED"
  | "RESTOCKED"
  | "EXPIRED"
  | "RENEWED";

/** Why, and by which call. */
export interface HistoryFacts {
  readonly reason?: string | undefined;
  readonly productId?: string | undefined;
  readonly stepKey?: string | undefined;
  readonly fencingToken?: string | undefined;
  readonly returnId?: string | undefined;
}

/** Adds a line to the order's timeline, in the transaction of the change that it tells of. */
export async function noteHistory(
  tx: TransactionHandle,
  { orderId, sagaId }: ReservationOwner,
  what: HistoryLine,
  facts: HistoryFacts = {},
): Promise<void> {
  const { reason, productId, stepKey, fencingToken, returnId } = facts;
  const details = [reason, productId, stepKey, fencingToken, returnId].map((fact) => fact ?? null);
  await tx.query(sql.insertHistory, [orderId, sagaId, what, ...details]);
}
