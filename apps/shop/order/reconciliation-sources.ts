import type { Pool } from "pg";
import type { z } from "zod";
import type { PeerClient } from "../chassis/peer-client.ts";
import type { CallContext } from "../chassis/trace-context.ts";
import {
  DeliveriesPage,
  PaymentsPage,
  ReservationsPage,
  StockPage,
} from "../contracts/http/internal.ts";
import type { OrderStatus } from "../contracts/http/orders.ts";
import { ledgerSummarySchema } from "../contracts/http/provider.ts";
import { isFinal } from "./domain.ts";
import { linesOf } from "./domain-reconciliation.ts";
import type {
  FinalOrder,
  PaymentFacts,
  PeerFacts,
  ProductPieces,
  StockFacts,
} from "./domain-reconciliation.ts";
import type { Peers } from "./peers.ts";
import * as sql from "./reconciliation-sql.ts";

/** All orders: the final ones to compare, of the others only that they exist. */
export interface OrdersRead {
  readonly final: ReadonlyMap<string, FinalOrder>;
  readonly inFlight: ReadonlySet<string>;
}

const ordersPerPage = 5000;

/** Reads all orders in pages; text per order, not objects per line, so that 100,000 fit easily. */
export async function readOrders(pool: Pool, signal?: AbortSignal): Promise<OrdersRead> {
  const final = new Map<string, FinalOrder>();
  const inFlight = new Set<string>();
  let after = "0";
  for (;;) {
    signal?.throwIfAborted();
    const { rows } = await pool.query<OrderRow>(sql.listForComparison, [after, ordersPerPage]);
    for (const { id, status, amount, lines, refunded, has_open_return: isReturning } of rows) {
      if (!isFinal(status) || isReturning) inFlight.add(id);
      else {
        const paid = Number(amount) - Number(refunded);
        final.set(id, { status, amount: paid, pieces: linesOf(lines) });
      }
    }
    if (rows.length < ordersPerPage) return { final, inFlight };
    after = rows.at(-1)?.number ?? after;
  }
}

/** Pieces per product in orders as they are now. */
export async function readPieces(pool: Pool): Promise<ReadonlyMap<string, ProductPieces>> {
  const { rows } = await pool.query<PiecesRow>(sql.sumPieces);
  return new Map(
    rows.map((row) => [
      row.product_id,
      { sold: Number(row.sold), inFlight: Number(row.in_flight), total: Number(row.total) },
    ]),
  );
}

/** Which of the ids are orders. */
export async function readKnown(pool: Pool, ids: readonly string[]): Promise<ReadonlySet<string>> {
  const { rows } = await pool.query<{ id: string }>(sql.knownOrders, [ids]);
  return new Set(rows.map((row) => row.id));
}

/** What the others say of orders. */
export async function readPeers(peers: Peers, context: CallContext): Promise<PeerFacts> {
  const [payments, nets, reservations, deliveries] = await Promise.all([
    readPayments(peers.payment, context),
    readNets(peers.provider, context),
    readReservations(peers.inventory, context),
    readDeliveries(peers.delivery, context),
  ]);
  return { payments, nets, reservations, deliveries };
}

/** All products with their quantities. */
export async function readStock(peers: Peers, context: CallContext): Promise<StockFacts[]> {
  const products: StockFacts[] = [];
  const path = "/internal/stock";
  await eachPage({ peer: peers.inventory, path, schema: StockPage, context }, (page) => {
    products.push(...page.products);
  });
  return products;
}

async function readPayments(
  peer: PeerClient,
  context: CallContext,
): Promise<ReadonlyMap<string, PaymentFacts>> {
  const payments = new Map<string, PaymentFacts>();
  await eachPage({ peer, path: "/internal/payments", schema: PaymentsPage, context }, (page) => {
    for (const { orderId, captured, charged, refunded, status } of page.payments) {
      const other = payments.get(orderId);
      payments.set(orderId, {
        status: other === undefined ? status : `${other.status},${status}`,
        paid: (other?.paid ?? 0) + captured + charged - refunded,
      });
    }
  });
  return payments;
}

async function readReservations(
  peer: PeerClient,
  context: CallContext,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const reservations = new Map<string, string[]>();
  const pages = { peer, path: "/internal/reservations", schema: ReservationsPage, context };
  await eachPage(pages, (page) => {
    for (const { orderId, productId, quantity, restocked, status } of page.reservations) {
      const lines = reservations.get(orderId) ?? [];
      // What was sold and has come back in full leaves nothing to compare.
      if (quantity > restocked) lines.push(`${status}\t${quantity - restocked}\t${productId}`);
      reservations.set(orderId, lines);
    }
  });
  return reservations;
}

async function readDeliveries(
  peer: PeerClient,
  context: CallContext,
): Promise<ReadonlyMap<string, string>> {
  const deliveries = new Map<string, string>();
  const pages = { peer, path: "/internal/deliveries", schema: DeliveriesPage, context };
  await eachPage(pages, (page) => {
    for (const { orderId, status } of page.deliveries) {
      const other = deliveries.get(orderId);
      deliveries.set(orderId, other === undefined ? status : `${other},${status}`);
    }
  });
  return deliveries;
}

async function readNets(
  peer: PeerClient,
  context: CallContext,
): Promise<ReadonlyMap<string, number>> {
  const path = "/ledger/summary";
  const question = {
    method: "GET",
    path,
    schema: ledgerSummarySchema,
    context,
    timeoutMs,
  } as const;
  const { orders } = await peer.ask(question);
  return new Map(orders.map(({ orderId, net }) => [orderId, net]));
}

/** For one page, or the whole ledger: far more than a request of a customer may take. */
const timeoutMs = 20_000;

/** A page of a thousand orders with all their lines stays far below what a client reads. */
const entriesPerPage = "1000";

interface Pages<Page> {
  readonly peer: PeerClient;
  readonly path: string;
  readonly schema: z.ZodType<Page>;
  readonly context: CallContext;
}

async function eachPage<Page extends { readonly next?: string | undefined }>(
  { peer, path, schema, context }: Pages<Page>,
  take: (page: Page) => void,
): Promise<void> {
  let after: string | undefined;
  for (;;) {
    const query = { after, limit: entriesPerPage };
    const page = await peer.ask({ method: "GET", path, query, schema, context, timeoutMs });
    take(page);
    if (page.next === undefined) return;
    if (page.next === after) throw new Error(`${peer.peer} gives the same page of ${path} again`);
    after = page.next;
  }
}

interface OrderRow {
  readonly id: string;
  readonly number: string;
  readonly status: OrderStatus;
  readonly amount: string;
  readonly lines: readonly (readonly [string, number])[];
  readonly refunded: string;
  readonly has_open_return: boolean;
}

interface PiecesRow {
  readonly product_id: string;
  readonly sold: string;
  readonly in_flight: string;
  readonly total: string;
}
