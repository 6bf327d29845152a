import type { CancelReason } from "../contracts/events.ts";

/** So many pieces of a product. */
export interface ProductQuantity {
  readonly productId: string;
  readonly quantity: number;
}

/** Whose stock is moved: the saga owns the reservation, and only it may end it. */
export interface ReservationOwner {
  readonly orderId: string;
  readonly sagaId: string;
}

/** Where a product's pieces are, apart from those sold. */
export interface StockLevel {
  readonly available: number;
  readonly reserved: number;
}

/** Why pieces cannot be set aside. */
export type RefusalReason = Extract<
  CancelReason,
  "UNKNOWN_PRODUCT" | "OUT_OF_STOCK" | "HELD_BY_ANOTHER_ORDER"
>;

/** What a reservation came to: all or nothing. Both are answers, and are remembered as such. */
export type ReservationAnswer =
  | { readonly kind: "reserved" }
  | { readonly kind: "refused"; readonly reason: RefusalReason; readonly productId: string };

/** One row of what a saga set aside, as it is now. */
export interface HeldPieces extends ProductQuantity {
  readonly status: "RESERVED" | "CONFIRMED" | "RELEASED";
  /** Its time is over, and it is one whose time can be. */
  readonly isExpired: boolean;
  /** How many of the sold pieces came back. */
  readonly restocked: number;
}

/** Whether all of it is still the saga's to confirm. */
export function canConfirm(held: readonly HeldPieces[]): boolean {
  return held.length > 0 && held.every((row) => row.status === "RESERVED" && !row.isExpired);
}

/**
 * How many pieces of which sold row come back: rows in their order, each up to what is left of it.
 * Undefined when they do not cover all that is wanted.
 */
export function spreadRestock(
  sold: readonly (HeldPieces & { readonly id: string })[],
  wanted: readonly ProductQuantity[],
): readonly { readonly id: string; readonly quantity: number }[] | undefined {
  const shares: { readonly id: string; readonly quantity: number }[] = [];
  for (const { productId, quantity } of wanted) {
    let missing = quantity;
    for (const row of sold.filter((each) => each.productId === productId)) {
      const share = Math.min(missing, row.quantity - row.restocked);
      if (share > 0) shares.push({ id: row.id, quantity: share });
      missing -= share;
    }
    if (missing > 0) return undefined;
  }
  return shares;
}

/** The lines of an order by product: one that stands on several lines is needed in total. */
export function sumByProduct(lines: readonly ProductQuantity[]): readonly ProductQuantity[] {
  const sums = new Map<string, number>();
  for (const { productId, quantity } of lines) {
    sums.set(productId, (sums.get(productId) ?? 0) + quantity);
  }
  return [...sums].map(([productId, quantity]) => ({ productId, quantity }));
}

/**
 * Whether all of it can be set aside. The refusal names what is hardest to mend: a product that
 * does not exist, before one that has too few pieces, before one whose pieces others hold.
 */
export function decideReservation(
  wanted: readonly ProductQuantity[],
  levels: ReadonlyMap<string, StockLevel>,
): ReservationAnswer {
  const refusals = new Map<RefusalReason, string>();
  for (const { productId, quantity } of wanted) {
    const reason = refusalOf(quantity, levels.get(productId));
    if (reason !== undefined && !refusals.has(reason)) refusals.set(reason, productId);
  }
  for (const reason of hardestFirst) {
    const productId = refusals.get(reason);
    if (productId !== undefined) return { kind: "refused", reason, productId };
  }
  return { kind: "reserved" };
}

const hardestFirst: readonly RefusalReason[] = [
  "UNKNOWN_PRODUCT",
  "OUT_OF_STOCK",
  "HELD_BY_ANOTHER_ORDER",
];

function refusalOf(quantity: number, level: StockLevel | undefined): RefusalReason | undefined {
  if (level === undefined) return "UNKNOWN_PRODUCT";
  if (level.available >= quantity) return undefined;
  return level.available + level.reserved >= quantity ? "HELD_BY_ANOTHER_ORDER" : "OUT_OF_STOCK";
}

/** The keys of a saga's steps at inventory. */
export const stepKeys = {
  reserve: (sagaId: string): string => `${sagaId}-inventory-reserve`,
  cancel: (sagaId: string): string => `${sagaId}-inventory-cancel`,
  confirm: (sagaId: string): string => `${sagaId}-inventory-confirm`,
} as const;
