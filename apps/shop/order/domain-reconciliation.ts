import type { OrderStatus } from "../contracts/http/orders.ts";
import type { Disagreement } from "../contracts/http/reconciliation.ts";

/** A final order as the order service has it. */
export interface FinalOrder {
  readonly status: Extract<OrderStatus, "COMPLETED" | "CANCELED">;
  readonly amount: number;
  /** Pieces per product over all lines: see `linesOf`. */
  readonly pieces: string;
}

/** What payment says of one order. */
export interface PaymentFacts {
  readonly status: string;
  readonly paid: number;
}

/** What the other services, and the provider outside, say of orders. */
export interface PeerFacts {
  readonly payments: ReadonlyMap<string, PaymentFacts>;
  /** What the customer paid in the end, by the provider's ledger. */
  readonly nets: ReadonlyMap<string, number>;
  /** Reservations of an order, each as `STATUS<tab>quantity<tab>product`. */
  readonly reservations: ReadonlyMap<string, readonly string[]>;
  /** Status of an order's delivery; of several, joined by commas. */
  readonly deliveries: ReadonlyMap<string, string>;
}

/** What inventory says of one product. */
export interface StockFacts {
  readonly productId: string;
  readonly available: number;
  readonly reserved: number;
  readonly sold: number;
  readonly adjusted: number;
}

/** Pieces of one product in orders. */
export interface ProductPieces {
  /** In COMPLETED orders. */
  readonly sold: number;
  /** In orders that are not final. */
  readonly inFlight: number;
  /** In all orders. */
  readonly total: number;
}

/** Pieces per product, as text that is equal when they are; `prefix` is put before each. */
export function linesOf(pieces: readonly (readonly [string, number])[], prefix = ""): string {
  return pieces
    .map(([productId, quantity]) => `${prefix}${quantity}\t${productId}`)
    .sort()
    .join("\n");
}

/** What the others must say of a final order, and do not. */
export function compareOrder(id: string, order: FinalOrder, peers: PeerFacts): Disagreement[] {
  return order.status === "COMPLETED"
    ? compareCompleted(id, order, peers)
    : compareCanceled(id, peers);
}

function compareCompleted(id: string, order: FinalOrder, peers: PeerFacts): Disagreement[] {
  const payment = peers.payments.get(id);
  const expected = order.pieces
    .split("\n")
    .map((line) => `CONFIRMED\t${line}`)
    .sort();
  const actual = [...(peers.reservations.get(id) ?? [])].sort();
  return [
    ...differ("payment-status", id, "COMPLETED", payment?.status ?? null),
    ...differ("payment-amount", id, order.amount, payment?.paid ?? null),
    ...differ("provider-net", id, order.amount, peers.nets.get(id) ?? 0),
    ...differ("delivery", id, "STARTED", peers.deliveries.get(id) ?? null),
    ...differ("reservations", id, expected.join("\n"), actual.join("\n")),
  ];
}

function compareCanceled(id: string, peers: PeerFacts): Disagreement[] {
  const payment = peers.payments.get(id)?.status ?? null;
  const delivery = peers.deliveries.get(id) ?? null;
  const active = (peers.reservations.get(id) ?? []).filter((line) => !line.startsWith("RELEASED"));
  const isPaymentOver = payment === null || payment === "FAILED" || payment === "REFUNDED";
  return [
    ...(isPaymentOver ? [] : differ("payment-status", id, "FAILED or REFUNDED", payment)),
    ...differ("provider-net", id, 0, peers.nets.get(id) ?? 0),
    ...(delivery?.includes("STARTED") === true ? differ("delivery", id, null, delivery) : []),
    ...differ("reservations", id, "", active.join("\n")),
  ];
}

/**
 * What the quantities of a product must be, and are not. The orders are counted before and after
 * the stock was read: between the counts, sold and reserved may be anything in between. When
 * nothing is in flight the bounds meet.
 */
export function compareStock(
  stock: StockFacts,
  before: ProductPieces,
  after: ProductPieces,
): Disagreement[] {
  const { productId: id, available, reserved, sold, adjusted } = stock;
  const soldMax = after.sold + after.inFlight;
  const reservedMax = before.inFlight + after.total - before.total;
  return [
    ...differ("stock-balance", id, adjusted, available + reserved + sold),
    ...(sold >= before.sold && sold <= soldMax
      ? []
      : differ("stock-sold", id, rangeOf(before.sold, soldMax), sold)),
    ...(reserved <= reservedMax
      ? []
      : differ("stock-reserved", id, rangeOf(0, reservedMax), reserved)),
  ];
}

/** Those that were there each time. */
export function persistent(
  earlier: readonly Disagreement[],
  later: readonly Disagreement[],
): readonly Disagreement[] {
  const seen = new Set(earlier.map(({ kind, id }) => `${kind} ${id}`));
  return later.filter(({ kind, id }) => seen.has(`${kind} ${id}`));
}

function rangeOf(min: number, max: number): string | number {
  return min === max ? min : `${min} to ${max}`;
}

const textMax = 200;

function differ(
  kind: string,
  id: string,
  expected: string | number | null,
  actual: string | number | null,
): Disagreement[] {
  if (expected === actual) return [];
  return [{ kind, id, expected: shorten(expected), actual: shorten(actual) }];
}

function shorten(side: string | number | null): string | number | null {
  if (typeof side !== "string") return side;
  const text = side.replaceAll("\n", ", ").replaceAll("\t", " ");
  return text.length > textMax ? `${text.slice(0, textMax)}…` : text;
}
