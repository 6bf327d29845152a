import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  acceptedOrderSchema,
  orderPageSchema,
  orderViewSchema,
} from "../../contracts/http/orders.ts";
import type { OrderView } from "../../contracts/http/orders.ts";
import { reconciliationSchema } from "../../contracts/http/reconciliation.ts";
import type { Reconciliation } from "../../contracts/http/reconciliation.ts";
import { createShopClient } from "../../replay/shop-client.ts";
import type { ShopClient, ShopUser } from "../../replay/shop-client.ts";

/** Somebody who may set the stock and see everything. */
export const merchant: ShopUser = { userId: "merchant", roles: ["merchant"] };

/** Somebody who buys. */
export const ada: ShopUser = { userId: "ada", roles: ["customer"] };

/** A shop that answers, with what tests ask of it. */
export interface ShopUnderTest {
  readonly url: string;
  readonly client: ShopClient;
  /** Puts a new product on the shelf and answers its id. */
  putProduct(available: number): Promise<string>;
  /** Posts an order of two pieces, under a key of its own, and answers its id. */
  order(productId: string, extras?: Record<string, unknown>): Promise<string>;
  /** Waits until the order has this status. */
  orderWith(orderId: string, status: OrderView["status"], withinMs?: number): Promise<OrderView>;
  /** Waits until the shelf has these figures. */
  stockIs(productId: string, figures: Record<string, number>): Promise<void>;
  orderCount(): Promise<number>;
  reconcile(): Promise<Reconciliation>;
}

const waitMs = 20_000;

/** Wraps the gateway at this address. */
export function shopAt(url: string): ShopUnderTest {
  const client = createShopClient({ gatewayUrl: url, patienceMs: 60_000 });
  const readOrder = (orderId: string): Promise<OrderView> =>
    client.ask({ url, path: `/orders/${orderId}`, as: merchant }, orderViewSchema);
  return {
    url,
    client,
    async putProduct(available) {
      const productId = `p-${randomUUID().slice(0, 8)}`;
      const body = { name: "A thing", available };
      await client.send({ url, path: `/products/${productId}`, method: "PUT", as: merchant, body });
      return productId;
    },
    async order(productId, extras = {}) {
      const items = [{ productId, quantity: 2, unitPrice: 500 }];
      const body = { items, currency: "GBP", mode: "choreography", ...extras };
      const call = {
        url,
        path: "/orders",
        method: "POST",
        as: ada,
        key: randomUUID(),
        body,
      } as const;
      return (await client.ask(call, acceptedOrderSchema)).orderId;
    },
    orderWith: (orderId, status, withinMs) =>
      eventually(
        () => readOrder(orderId),
        (order) => order.status === status,
        withinMs,
      ),
    async stockIs(productId, figures) {
      const call = { url, path: `/products/${productId}`, as: merchant };
      await eventually(
        async () => (await client.send(call)).body as Record<string, unknown>,
        (body) => Object.entries(figures).every(([name, figure]) => body[name] === figure),
      );
    },
    async orderCount() {
      const call = { url, path: "/orders?limit=1000", as: merchant };
      return (await client.ask(call, orderPageSchema)).orders.length;
    },
    reconcile: () =>
      client.ask({ url, path: "/reconciliation", as: merchant }, reconciliationSchema),
  };
}

/** Asks until the answer is as wished; the last answer is in the error. */
export async function eventually<T>(
  read: () => Promise<T>,
  isWished: (value: T) => boolean,
  withinMs: number = waitMs,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const value = await read();
    if (isWished(value)) return value;
    if (performance.now() > deadline) {
      throw new Error(`Not within ${withinMs} ms; at last: ${JSON.stringify(value)}`);
    }
    await delay(50);
  }
}
