import { setTimeout as delay } from "node:timers/promises";
import type { OrderStatus } from "../contracts/http/orders.ts";
import { listOrders } from "./order-list.ts";
import type { ShopClient } from "./shop-client.ts";

/** What {@link awaitFinal} waits for, and for how long. */
export interface AwaitFinalOptions {
  readonly url: string;
  /** When the run began. */
  readonly since: string;
  readonly orderIds: ReadonlySet<string>;
  /** Gives up so long after the last order has moved on. */
  readonly patienceMs: number;
  readonly onProgress: (inFlight: number) => void;
  /** Is content when no more than so many are on their way. @defaultValue 0 */
  readonly restMax?: number;
  /** Gives up after so long, whatever moves. @defaultValue no limit but the patience */
  readonly withinMs?: number;
}

const statusesInFlight: readonly OrderStatus[] = ["PENDING", "PROCESSING", "CANCELING"];
const pollMs = 500;

/**
 * Waits until no order of the run is on its way any more. One that waits for an operator moves no
 * more by itself, so it is not waited for.
 *
 * @returns how many were still on their way when the patience was over
 */
export async function awaitFinal(client: ShopClient, options: AwaitFinalOptions): Promise<number> {
  const { restMax = 0, withinMs = Number.POSITIVE_INFINITY } = options;
  const deadline = performance.now() + withinMs;
  let last = "";
  let movedAt = performance.now();
  let isQuiet = false;
  for (;;) {
    const moving = await listMoving(client, options);
    options.onProgress(moving.length);
    if (moving.length <= restMax) {
      // Between two of the lists an order may have gone from the later one to the earlier one.
      if (isQuiet) return moving.length;
      isQuiet = true;
      continue;
    }
    isQuiet = false;
    const now = moving.join();
    if (now !== last) movedAt = performance.now();
    else if (performance.now() - movedAt > options.patienceMs) return moving.length;
    if (performance.now() > deadline) return moving.length;
    last = now;
    await delay(pollMs);
  }
}

async function listMoving(
  client: ShopClient,
  options: AwaitFinalOptions,
): Promise<readonly string[]> {
  const { url, since, orderIds } = options;
  // By id, since an order may move on to the next list while this one is read.
  const moving = new Map<string, string>();
  for (const status of statusesInFlight) {
    for (const order of await listOrders(client, { url, status, since })) {
      if (orderIds.has(order.orderId)) {
        moving.set(
          order.orderId,
          `${order.orderId} ${order.status} ${order.stage} ${order.updatedAt}`,
        );
      }
    }
  }
  return [...moving.values()].sort();
}
