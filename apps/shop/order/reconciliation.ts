import { setTimeout as delay } from "node:timers/promises";
import type { Pool } from "pg";
import type { CallContext } from "../chassis/trace-context.ts";
import type { Disagreement, Reconciliation } from "../contracts/http/reconciliation.ts";
import {
  compareOrder,
  compareStock,
  isOnlyLate,
  persistent,
  unsettledPieces,
} from "./domain-reconciliation.ts";
import type { PeerFacts, ProductPieces, StockFacts } from "./domain-reconciliation.ts";
import type { Peers } from "./peers.ts";
import {
  readKnown,
  readOrders,
  readPeers,
  readPieces,
  readStock,
} from "./reconciliation-sources.ts";
import type { OrdersRead } from "./reconciliation-sources.ts";
import * as sql from "./reconciliation-sql.ts";

/** What a comparison needs. */
export interface ReconcileOptions {
  readonly pool: Pool;
  readonly peers: Peers;
  readonly context: CallContext;
}

/** Pauses before what looks wrong is read again. */
const pausesMs = [300, 1000, 2500];

/** How long a confirmation that is only late is waited for beyond that, and between readings. */
const latePauseMs = 3000;
const lateWithinMs = 20_000;

/**
 * Whether all services, and the provider outside, tell one story about the final orders. The
 * services are read one after the other while they work, so what looks wrong may only be late:
 * it is read again up to three times, and reported when it was wrong each time. When nothing but
 * confirmations of stock is awaited, it waits for those a little longer.
 *
 * @throws PeerError when a service cannot be read
 */
export async function reconcile(options: ReconcileOptions): Promise<Reconciliation> {
  const startedAtMs = performance.now();
  let facts = await readAll(options);
  let disagreements = compare(facts);
  for (let round = 0; disagreements.length > 0; round += 1) {
    const isPatient = isOnlyLate(disagreements) && performance.now() - startedAtMs < lateWithinMs;
    const pauseMs = pausesMs[round] ?? (isPatient ? latePauseMs : undefined);
    if (pauseMs === undefined) break;
    await delay(pauseMs, undefined, { signal: options.context.signal });
    facts = await readAll(options);
    disagreements = persistent(disagreements, compare(facts));
  }
  return report(options.pool, facts, disagreements);
}

/** One reading of everything. */
interface Facts {
  readonly orders: OrdersRead;
  readonly peers: PeerFacts;
  readonly stock: readonly StockFacts[];
  readonly before: ReadonlyMap<string, ProductPieces>;
  readonly after: ReadonlyMap<string, ProductPieces>;
  /** What a service knows of an order that there is not. */
  readonly strays: readonly Disagreement[];
}

/** The orders come first: an order that is final then has been settled with by all who are read later. */
async function readAll({ pool, peers, context }: ReconcileOptions): Promise<Facts> {
  const orders = await readOrders(pool, context.signal);
  const before = await readPieces(pool);
  // Reservations before stock: what was confirmed then is sold in the stock that is read now.
  const told = await readPeers(peers, context);
  const stock = await readStock(peers, context);
  const after = await readPieces(pool);
  return {
    orders,
    peers: told,
    stock,
    before,
    after,
    strays: await findStrays(pool, orders, told),
  };
}

async function findStrays(
  pool: Pool,
  orders: OrdersRead,
  peers: PeerFacts,
): Promise<Disagreement[]> {
  const claims = (
    [
      ["payment-without-order", peers.payments],
      ["provider-without-order", peers.nets],
      ["reservation-without-order", peers.reservations],
      ["delivery-without-order", peers.deliveries],
    ] as const
  ).flatMap(([kind, byOrder]) =>
    [...byOrder.keys()]
      .filter((id) => !orders.final.has(id) && !orders.inFlight.has(id))
      .map((id) => ({ kind, id })),
  );
  if (claims.length === 0) return [];
  // Orders are committed before anyone hears of them, so one that is new since is there by now.
  const known = await readKnown(pool, [...new Set(claims.map(({ id }) => id))]);
  return claims
    .filter(({ id }) => !known.has(id))
    .map(({ kind, id }) => ({ kind, id, expected: null, actual: "there" }));
}

function compare({ orders, peers, stock, before, after, strays }: Facts): readonly Disagreement[] {
  const found: Disagreement[] = [...strays];
  for (const [id, order] of orders.final) found.push(...compareOrder(id, order, peers));
  const unsettled = unsettledPieces(orders.final, peers);
  for (const product of stock) {
    const { productId: id } = product;
    const around = { before: before.get(id) ?? none, after: after.get(id) ?? none };
    found.push(...compareStock(product, { ...around, unsettled: unsettled.get(id) ?? 0 }));
  }
  const stocked = new Set(stock.map(({ productId }) => productId));
  for (const [id, { sold }] of before) {
    if (sold === 0 || stocked.has(id)) continue;
    found.push({ kind: "stock-sold", id, expected: sold, actual: null });
  }
  return found;
}

const none: ProductPieces = { sold: 0, inFlight: 0, total: 0 };

/** Whoever has more to mend than this asks again afterwards. */
const disagreementsMax = 1000;

async function report(
  pool: Pool,
  { orders, peers, stock }: Facts,
  disagreements: readonly Disagreement[],
): Promise<Reconciliation> {
  const { rows } = await pool.query<CountsRow>(sql.countStatuses);
  const counts = rows[0];
  if (counts === undefined) throw new Error("counting gave no row");
  const byStatus = counts.orders ?? {};
  const { COMPLETED: completed = 0, CANCELED: canceled = 0 } = byStatus;
  const total = sumOf(Object.values(byStatus));
  return {
    ok: disagreements.length === 0,
    checkedAt: counts.checked_at.toISOString(),
    orders: byStatus,
    inFlight: total - completed - canceled + counts.returns_in_flight,
    money: moneyOf(orders, peers),
    stock: {
      products: stock.length,
      available: sumOf(stock.map((product) => product.available)),
      reserved: sumOf(stock.map((product) => product.reserved)),
      sold: sumOf(stock.map((product) => product.sold)),
      adjusted: sumOf(stock.map((product) => product.adjusted)),
    },
    deliveries: countsOf(peers.deliveries.values()),
    disagreements: cut(disagreements),
  };
}

/** What customers paid for final orders in the end, as each side has it. */
function moneyOf({ final }: OrdersRead, peers: PeerFacts): Reconciliation["money"] {
  const ids = [...final.keys()];
  const completed = [...final.values()].filter(({ status }) => status === "COMPLETED");
  const paid = ids.map((id) => {
    return peers.payments.get(id)?.paid ?? 0;
  });
  return {
    orders: sumOf(completed.map(({ amount }) => amount)),
    payments: sumOf(paid),
    provider: sumOf(ids.map((id) => peers.nets.get(id) ?? 0)),
  };
}

/** Sums for people to read; beyond what JSON carries exactly they only say "more than that". */
function sumOf(numbers: readonly number[]): number {
  const sum = numbers.reduce((one, other) => one + other, 0);
  return Math.min(sum, Number.MAX_SAFE_INTEGER);
}

function countsOf(statuses: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = { STARTED: 0, REFUSED: 0, STOPPED: 0 };
  for (const status of statuses) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

function cut(disagreements: readonly Disagreement[]): readonly Disagreement[] {
  if (disagreements.length <= disagreementsMax) return disagreements;
  const more = disagreements.length - disagreementsMax;
  const rest = { kind: "more", id: "not listed", expected: 0, actual: more };
  return [...disagreements.slice(0, disagreementsMax), rest];
}

interface CountsRow {
  readonly checked_at: Date;
  readonly orders: Readonly<Record<string, number>> | null;
  readonly returns_in_flight: number;
}
