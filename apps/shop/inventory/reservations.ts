import { PermanentError } from "dure";
import type { TransactionHandle } from "dure";
import { decideReservation, stepKeys, sumByProduct } from "./domain.ts";
import type { ProductQuantity, ReservationAnswer, ReservationOwner } from "./domain.ts";
import { noteHistory } from "./history.ts";
import { columnsOf, lockLevels, move, productIdsOf } from "./stock.ts";
import type { LockWait } from "./stock.ts";
import * as sql from "./stock-sql.ts";

/** Whose stock is set aside, by which call, and whether that ends by itself. */
export interface ReservationCall extends ReservationOwner {
  readonly key: string;
  /** Where nobody asks again before the goods leave, it must not. */
  readonly canExpire: boolean;
  readonly fencingToken?: string | undefined;
}

/** A reservation, or why there is none. */
export type Reservation =
  | Extract<ReservationAnswer, { readonly kind: "refused" }>
  | { readonly kind: "reserved"; readonly expiresAt: string };

/** How long a saga holds what it has set aside, unless it renews or confirms it. */
export const holdMs: number = 30 * 60_000;

/**
 * Sets everything aside or, when one product does not suffice, nothing. Readers and other orders
 * of the same products wait for no longer than this transaction takes.
 */
export async function reserve(
  tx: TransactionHandle,
  call: ReservationCall,
  lines: readonly ProductQuantity[],
  wait: LockWait,
): Promise<Reservation> {
  const { orderId, sagaId, key, canExpire, fencingToken } = call;
  const step = canExpire ? { stepKey: key, fencingToken } : {};
  const wanted = sumByProduct(lines);
  const levels = await lockLevels(tx, productIdsOf(wanted), wait);
  const answer = decideReservation(wanted, levels);
  if (answer.kind === "refused") {
    const { reason, productId } = answer;
    await noteHistory(tx, call, "REFUSED", { reason, productId, ...step });
    return answer;
  }
  await move(tx, sql.moveToReserved, wanted);
  const facts = [orderId, sagaId, key, holdMs, canExpire];
  const { rows } = await tx.query(sql.insertReservations, [...facts, ...columnsOf(wanted)]);
  await noteHistory(tx, call, "RESERVED", step);
  const expiresAt = rows[0]?.["expired_at"];
  if (!(expiresAt instanceof Date)) throw new Error("inventory:reservation.insert gave no time");
  return { kind: "reserved", expiresAt: expiresAt.toISOString() };
}

/**
 * The goods leave: reserved becomes sold. Returns the products.
 *
 * @throws PermanentError when the saga holds no reservation of the order (any more)
 */
export async function confirm(
  tx: TransactionHandle,
  owner: ReservationOwner,
  wait: LockWait,
): Promise<readonly string[]> {
  const held = await endReservations(tx, owner, "CONFIRMED", wait);
  if (held.length === 0) throw new PermanentError(`nothing is reserved for order ${owner.orderId}`);
  await move(tx, sql.moveToSold, held);
  await noteHistory(tx, owner, "CONFIRMED");
  return productIdsOf(held);
}

/**
 * The order comes to nothing: reserved becomes available. Returns the products, none when the
 * reservation had been refused.
 *
 * @throws PermanentError when the reservation is confirmed already: that is undone by other means
 */
export async function release(
  tx: TransactionHandle,
  owner: ReservationOwner,
  reason: string,
  wait: LockWait,
): Promise<readonly string[]> {
  const held = await endReservations(tx, owner, "RELEASED", wait);
  if (held.length > 0) await move(tx, sql.moveToAvailable, held);
  await noteHistory(tx, owner, "RELEASED", { reason });
  return productIdsOf(held);
}

async function endReservations(
  tx: TransactionHandle,
  { orderId, sagaId }: ReservationOwner,
  status: "CONFIRMED" | "RELEASED",
  wait: LockWait,
): Promise<readonly ProductQuantity[]> {
  const owned = [orderId, sagaId, stepKeys.reserve(sagaId)];
  const reserved = await tx.query(sql.readReservedProducts, owned);
  if (reserved.rows.length === 0) return [];
  const productIds = reserved.rows.map((row) => String(row["product_id"]));
  // Products first, as everybody does: the rows of the reservation are the saga's alone.
  await lockLevels(tx, productIds, wait);
  const { rows } = await tx.query(sql.endReservations, [status, ...owned]);
  if (rows.length !== productIds.length) {
    throw new PermanentError(
      `order ${orderId}: ${rows.length} of ${productIds.length} reservations could become ${status}`,
    );
  }
  return rows.map((row) => ({
    productId: String(row["product_id"]),
    quantity: Number(row["quantity"]),
  }));
}
