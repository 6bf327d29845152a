import type { OrderStatus } from "../contracts/http/orders.ts";
import type { Disagreement } from "../contracts/http/reconciliation.ts";

/** A final order as the order service has it. */
export interface FinalOrder {
  readonly status: Extract<OrderStatus, "COMPLETED" | "CANCELED">;
  /** What was paid for the pieces that were not returned. */
  readonly amount: number;
  /** These pieces per product over all lines: see `linesOf`. */
  readonly pieces: string;
}

/** What payment says of one order. */
export interface PaymentFacts {
  readonly status: string;
  /** Captured and charged, less what went back. */
  readonly paid: number;
}

/** What the other services, and the provider outside, say of orders. */
export interface PeerFacts {
  readonly payments: ReadonlyMap<string, PaymentFacts>;
  /** What the customer paid in the end, by the provider's ledger. */
  readonly nets: ReadonlyMap<string, number>;
  /** Reservations of an order without what was restocked, as `STATUS<tab>quantity<tab>product`. */
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
  /** In COMPLETED orders, without what was or is being returned. */
  readonly sold: number;
  /** In orders that are not final, and in returns that are not. */
  readonly inFlight: number;
  /** In all orders, returned or not. */
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
  return [
    // When everything was returned, all the money went back.
    ...differ(
      "payment-status",
      id,
      order.amount === 0 ? "REFUNDED" : "COMPLETED",
      payment?.status ?? null,
    ),
    ...differ("payment-amount", id, order.amount, payment?.paid ?? null),
    ...differ("provider-net", id, order.amount, peers.nets.get(id) ?? 0),
    ...differ("delivery", id, "STARTED", peers.deliveries.get(id) ?? null),
    ...compareReservations(id, order.pieces, peers.reservations.get(id)),
  ];
}

/** The kind for a completed order whose pieces are all set aside, and not all confirmed. */
const unconfirmed = "reservations-unconfirmed";

/** Whether only a confirmation is awaited: nothing is lost, and under load it may take a while. */
export function isOnlyLate(disagreements: readonly Disagreement[]): boolean {
  return disagreements.every(({ kind }) => kind === unconfirmed);
}

function compareReservations(
  id: string,
  pieces: string,
  reservations: readonly string[] | undefined,
): Disagreement[] {
  const [expected, actual] = [confirmedOf(pieces), sorted(reservations)];
  const confirmed = reservations?.map((line) => line.replace(/^RESERVED\t/, "CONFIRMED\t"));
  const isLate = sorted(confirmed) === expected;
  return differ(isLate ? unconfirmed : "reservations", id, expected, actual);
}

function isConfirmed(pieces: string, reservations: readonly string[] | undefined): boolean {
  return sorted(reservations) === confirmedOf(pieces);
}

/** The reservations that a completed order must have. */
function confirmedOf(pieces: string): string {
  return sorted(eachLine(pieces).map((line) => `CONFIRMED\t${line}`));
}

function eachLine(pieces: string): readonly string[] {
  return pieces === "" ? [] : pieces.split("\n");
}

function sorted(lines: readonly string[] = []): string {
  return lines.toSorted().join("\n");
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
 * Pieces per product of completed orders whose reservations were not confirmed when they were
 * read. They are on their way, or the comparison of the order says so.
 */
export function unsettledPieces(
  orders: ReadonlyMap<string, FinalOrder>,
  peers: Pick<PeerFacts, "reservations">,
): ReadonlyMap<string, number> {
  const unsettled = new Map<string, number>();
  for (const [id, { status, pieces }] of orders) {
    if (status !== "COMPLETED" || isConfirmed(pieces, peers.reservations.get(id))) continue;
    for (const line of eachLine(pieces)) {
      const [quantity, productId = ""] = line.split("\t");
      unsettled.set(productId, (unsettled.get(productId) ?? 0) + Number(quantity));
    }
  }
  return unsettled;
}

/** How a product's pieces were counted in orders, around the reading of the stock. */
export interface PiecesAround {
  readonly before: ProductPieces;
  readonly after: ProductPieces;
  /** Of `unsettledPieces`, from reservations that were read before the stock. */
  readonly unsettled: number;
}

/**
 * What the quantities of a product must be, and are not. The orders are counted before and after
 * the stock was read: between the counts, sold and reserved may be anything in between. When
 * nothing is in flight the bounds meet.
 */
export function compareStock(stock: StockFacts, around: PiecesAround): Disagreement[] {
  const { productId: id, available, reserved, sold, adjusted } = stock;
  const { before, after, unsettled } = around;
  // Orders are completed between the counts, and pieces of others are returned.
  const soldMin = Math.min(before.sold, after.sold) - unsettled;
  const soldMax = Math.max(before.sold + before.inFlight, after.sold + after.inFlight);
  const reservedMax = before.inFlight + after.total - before.total + unsettled;
  return [
    ...differ("stock-balance", id, adjusted, available + reserved + sold),
    ...(sold >= soldMin && sold <= soldMax
      ? []
      : differ("stock-sold", id, rangeOf(soldMin, soldMax), sold)),
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
