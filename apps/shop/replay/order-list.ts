import { orderPageSchema } from "../contracts/http/orders.ts";
import type { OrderStatus, OrderView } from "../contracts/http/orders.ts";
import type { ShopClient, ShopUser } from "./shop-client.ts";

/** Sees every order and sets the stock. */
export const merchant: ShopUser = { userId: "replay", roles: ["merchant"] };

const pageSize = 500;
/** A file of half a million lines has fewer orders than that; past it something goes in circles. */
const pagesMax = 10_000;

/** Which orders to read. */
export interface OrderListOptions {
  readonly url: string;
  readonly status?: OrderStatus;
  /** Stops before orders that are older. */
  readonly since: string;
}

/** Reads all orders back to an instant, newest first. */
export async function listOrders(
  client: ShopClient,
  options: OrderListOptions,
): Promise<readonly OrderView[]> {
  const { url, status, since } = options;
  const found: OrderView[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < pagesMax; page += 1) {
    const query = new URLSearchParams({
      limit: String(pageSize),
      ...(status === undefined ? {} : { status }),
      ...(cursor === undefined ? {} : { cursor }),
    });
    const call = { url, path: `/orders?${query.toString()}`, as: merchant };
    const { orders, nextCursor } = await client.ask(call, orderPageSchema);
    found.push(...orders.filter(({ createdAt }) => createdAt >= since));
    const isPast = orders.some(({ createdAt }) => createdAt < since);
    if (nextCursor === undefined || isPast) return found;
    cursor = nextCursor;
  }
  throw new Error(`GET /orders has more than ${pagesMax} pages`);
}
