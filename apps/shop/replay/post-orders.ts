import { acceptedOrderSchema } from "../contracts/http/orders.ts";
import type { CheckoutMode } from "../contracts/http/orders.ts";
import { byCustomer } from "./plan.ts";
import type { PlannedOrder } from "./plan.ts";
import type { ShopClient } from "./shop-client.ts";

/** What became of posting one order. */
export type PostedOrder =
  | {
      readonly kind: "accepted";
      readonly planned: PlannedOrder;
      readonly orderId: string;
      /** As the shop computed it. */
      readonly amount: number;
    }
  | { readonly kind: "refused"; readonly planned: PlannedOrder; readonly why: string };

/** How {@link postOrders} goes about it. */
export interface PostOptions {
  readonly url: string;
  /** Distinguishes this run's keys from those of any other. */
  readonly run: string;
  /** Left to the shop when it is not given. */
  readonly mode: CheckoutMode | undefined;
  /** How many customers order at the same time. */
  readonly concurrency: number;
  /** Called after each order, whatever became of it. */
  readonly onPosted: (posted: PostedOrder) => void;
}

/**
 * Posts every order once, under a key made of its invoice. A customer's orders follow one another
 * in the file's order; customers order side by side.
 *
 * When the shop gave no answer to one within the client's patience, no more are posted.
 */
export async function postOrders(
  client: ShopClient,
  orders: readonly PlannedOrder[],
  options: PostOptions,
): Promise<readonly PostedOrder[]> {
  const queues = [...byCustomer(orders)];
  const posted: PostedOrder[] = [];
  let isAnswering = true;
  const postOne = async (planned: PlannedOrder): Promise<void> => {
    const result = await postOrder(client, planned, options).catch((error: unknown) => {
      isAnswering = false;
      const why = error instanceof Error ? error.message : String(error);
      return { kind: "refused", planned, why } as const;
    });
    posted.push(result);
    options.onPosted(result);
  };
  const work = async (): Promise<void> => {
    for (let queue = queues.shift(); queue !== undefined; queue = queues.shift()) {
      for (const order of queue) if (isAnswering) await postOne(order);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, work));
  return posted;
}

/** The key under which a run posts an invoice. */
export function keyOf(run: string, invoice: string): string {
  return `replay-${run}-${encodeURIComponent(invoice)}`;
}

async function postOrder(
  client: ShopClient,
  planned: PlannedOrder,
  options: PostOptions,
): Promise<PostedOrder> {
  const { status, body } = await client.send({
    url: options.url,
    path: "/orders",
    method: "POST",
    as: { userId: planned.customer, roles: ["customer"] },
    key: keyOf(options.run, planned.invoice),
    body: {
      items: planned.items,
      currency: "GBP",
      ...(options.mode === undefined ? {} : { mode: options.mode }),
    },
  });
  const accepted = status === 201 ? acceptedOrderSchema.safeParse(body) : undefined;
  if (accepted?.success !== true) {
    return { kind: "refused", planned, why: `${status} ${JSON.stringify(body).slice(0, 300)}` };
  }
  const { orderId, amount } = accepted.data;
  return { kind: "accepted", planned, orderId, amount };
}
