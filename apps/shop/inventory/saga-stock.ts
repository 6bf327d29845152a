import type { TransactionHandle } from "dure";
import { ProblemError } from "../chassis/problem.ts";
import { canConfirm, spreadRestock, sumByProduct } from "./domain.ts";
import type { HeldPieces, ProductQuantity, ReservationOwner } from "./domain.ts";
import { holdMs } from "./reservations.ts";
import * as sql from "./step-sql.ts";
import { lockLevels, move, productIdsOf } from "./stock.ts";
import * as stockSql from "./stock-sql.ts";

/**
 * What a saga does with pieces that it holds, beyond the moves of the choreographed checkout. Each
 * function locks the products in their order first; what it returns are the products that changed.
 */
type Products = readonly string[];

/** Reserved becomes sold, all of it or nothing. Undefined: the saga does not hold it any more. */
export async function confirmHeld(
  tx: TransactionHandle,
  owner: ReservationOwner,
): Promise<Products | undefined> {
  const held = await lockHeld(tx, owner);
  if (!canConfirm(held)) return undefined;
  await tx.query(sql.endHeld, ["CONFIRMED", owner.orderId, owner.sagaId]);
  return moveAll(tx, stockSql.moveToSold, held);
}

/**
 * Sold becomes reserved again.
 *
 * @throws ProblemError VERSION_CONFLICT when some of it was restocked: the order is past that
 */
export async function unconfirmHeld(
  tx: TransactionHandle,
  owner: ReservationOwner,
): Promise<Products> {
  const sold = (await lockHeld(tx, owner)).filter((row) => row.status === "CONFIRMED");
  if (sold.some((row) => row.restocked > 0)) {
    throw new ProblemError("VERSION_CONFLICT", "Pieces of the order were restocked.");
  }
  if (sold.length === 0) return [];
  await tx.query(sql.holdAgain, [holdMs, owner.orderId, owner.sagaId]);
  return moveAll(tx, stockSql.moveSoldToReserved, sold);
}

/**
 * Reserved becomes available; what has been released before stays so.
 *
 * @throws ProblemError VERSION_CONFLICT when it is confirmed: that is undone first
 */
export async function releaseHeld(
  tx: TransactionHandle,
  owner: ReservationOwner,
): Promise<Products> {
  const held = await lockHeld(tx, owner);
  if (held.some((row) => row.status === "CONFIRMED")) {
    throw new ProblemError("VERSION_CONFLICT", "The reservation is confirmed: undo that first.");
  }
  return release(tx, owner, held);
}

/** What has run out becomes available. Empty: somebody renewed, confirmed or released it. */
export async function releaseExpired(
  tx: TransactionHandle,
  owner: ReservationOwner,
): Promise<Products> {
  const held = (await lockHeld(tx, owner)).filter((row) => row.status === "RESERVED");
  return held.every((row) => row.isExpired) ? release(tx, owner, held) : [];
}

/**
 * Sold becomes available, all of it or nothing. Undefined: the order has less.
 *
 * @throws ProblemError VERSION_CONFLICT while pieces of the order wait to be confirmed
 */
export async function restock(
  tx: TransactionHandle,
  orderId: string,
  items: readonly ProductQuantity[],
): Promise<Products | undefined> {
  const wanted = sumByProduct(items);
  const productIds = productIdsOf(wanted);
  await lockLevels(tx, productIds, "wait");
  const { rows } = await tx.query(sql.readSold, [orderId, productIds]);
  const sold = rows.map((row) => ({ ...heldFrom(row), id: String(row["id"]) }));
  const shares = spreadRestock(sold, wanted);
  if (shares === undefined) {
    const reserved = await tx.query(sql.hasReserved, [orderId]);
    // Thrown, so that it is not remembered: a choreographed order is COMPLETED before that is heard here.
    if (reserved.rows[0]?.["found"] === true) {
      throw new ProblemError("VERSION_CONFLICT", "Pieces of the order are not confirmed yet.");
    }
    return undefined;
  }
  const columns = [shares.map((share) => share.id), shares.map((share) => share.quantity)];
  await tx.query(sql.addRestocked, columns);
  return moveAll(tx, stockSql.moveSoldToAvailable, wanted);
}

/** Until when it is held now. Undefined: it is not held any more. */
export async function renew(
  tx: TransactionHandle,
  owner: ReservationOwner,
): Promise<string | undefined> {
  await lockHeld(tx, owner);
  const { rows } = await tx.query(sql.renewHeld, [holdMs, owner.orderId, owner.sagaId]);
  const expiresAt = rows[0]?.["expired_at"];
  return expiresAt instanceof Date ? expiresAt.toISOString() : undefined;
}

async function release(
  tx: TransactionHandle,
  owner: ReservationOwner,
  held: readonly HeldPieces[],
): Promise<Products> {
  const reserved = held.filter((row) => row.status === "RESERVED");
  if (reserved.length === 0) return [];
  await tx.query(sql.endHeld, ["RELEASED", owner.orderId, owner.sagaId]);
  return moveAll(tx, stockSql.moveToAvailable, reserved);
}

/** The saga's rows under the locks of their products, without which nobody changes them. */
async function lockHeld(
  tx: TransactionHandle,
  { orderId, sagaId }: ReservationOwner,
): Promise<readonly HeldPieces[]> {
  const products = await tx.query(sql.readProductsOfSaga, [orderId, sagaId]);
  if (products.rows.length === 0) return [];
  const productIds = products.rows.map((row) => String(row["product_id"]));
  await lockLevels(tx, productIds, "wait");
  const { rows } = await tx.query(sql.readHeld, [orderId, sagaId]);
  return rows.map(heldFrom);
}

async function moveAll(
  tx: TransactionHandle,
  text: string,
  pieces: readonly ProductQuantity[],
): Promise<Products> {
  const sums = sumByProduct(pieces);
  await move(tx, text, sums);
  return productIdsOf(sums);
}

function heldFrom(row: Readonly<Record<string, unknown>>): HeldPieces {
  return {
    productId: String(row["product_id"]),
    quantity: Number(row["quantity"]),
    // The table's check allows no other.
    status: row["status"] as HeldPieces["status"],
    isExpired: row["is_expired"] === true,
    restocked: Number(row["restocked_quantity"]),
  };
}
