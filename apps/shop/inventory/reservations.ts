import { PermanentError, RetryableError } from "dure";
import type { TransactionHandle } from "dure";
import { decideReservation, stepKeys, sumByProduct } from "./domain.ts";
import type { ProductQuantity, ReservationAnswer, StockLevel } from "./domain.ts";
import * as sql from "./stock-sql.ts";

/** Whose stock is moved: the saga owns the reservation, and only it may end it. */
export interface ReservationOwner {
  readonly orderId: string;
  readonly sagaId: string;
}

/** Whether a lock is waited for, or given up at once because the transaction has others. */
export type LockWait = "wait" | "give-up";

/** How long a reservation is meant to live. Nothing ends it yet; a gauge counts those beyond. */
const holdMs = 30 * 60_000;

/**
 * Sets everything aside or, when one product does not suffice, nothing. Readers and other orders
 * of the same products wait for no longer than this transaction takes.
 */
export async function reserve(
  tx: TransactionHandle,
  owner: ReservationOwner,
  lines: readonly ProductQuantity[],
  wait: LockWait,
): Promise<ReservationAnswer> {
  const { orderId, sagaId } = owner;
  const wanted = sumByProduct(lines);
  const levels = await lockLevels(tx, productIdsOf(wanted), wait);
  const answer = decideReservation(wanted, levels);
  if (answer.kind === "refused") {
    await noteHistory(tx, owner, "REFUSED", answer);
    return answer;
  }
  await move(tx, sql.moveToReserved, wanted);
  const call = [orderId, sagaId, stepKeys.reserve(sagaId), holdMs];
  await tx.query(sql.insertReservations, [...call, ...columnsOf(wanted)]);
  return answer;
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

async function lockLevels(
  tx: TransactionHandle,
  productIds: readonly string[],
  wait: LockWait,
): Promise<ReadonlyMap<string, StockLevel>> {
  const text = wait === "wait" ? sql.lockProducts : sql.lockFreeProducts;
  const { rows } = await tx.query(text, [productIds]);
  if (wait === "give-up" && rows.length < productIds.length) {
    throw new RetryableError("a product is another order's at the moment, or unknown");
  }
  return new Map(
    rows.map((row) => [
      String(row["product_id"]),
      { available: Number(row["available_quantity"]), reserved: Number(row["reserved_quantity"]) },
    ]),
  );
}

async function move(
  tx: TransactionHandle,
  text: string,
  pieces: readonly ProductQuantity[],
): Promise<void> {
  const { rowCount } = await tx.query(text, columnsOf(pieces));
  if (rowCount === pieces.length) return;
  // The rows were locked and looked at: only a defect, or a hand in the tables, comes here.
  throw new PermanentError(`stock moved for ${rowCount ?? 0} of ${pieces.length} products`);
}

async function noteHistory(
  tx: TransactionHandle,
  { orderId, sagaId }: ReservationOwner,
  what: "REFUSED" | "CONFIRMED" | "RELEASED",
  why: { readonly reason?: string; readonly productId?: string } = {},
): Promise<void> {
  const { reason = null, productId = null } = why;
  await tx.query(sql.insertHistory, [orderId, sagaId, what, reason, productId]);
}

function productIdsOf(pieces: readonly ProductQuantity[]): readonly string[] {
  return pieces.map((piece) => piece.productId);
}

function columnsOf(pieces: readonly ProductQuantity[]): readonly [readonly string[], number[]] {
  return [productIdsOf(pieces), pieces.map((piece) => piece.quantity)];
}
