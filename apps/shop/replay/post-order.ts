import { acceptedOrderSchema } from "../contracts/http/orders.ts";
import type { CheckoutMode } from "../contracts/http/orders.ts";
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

/** Where and how an order is posted. */
export interface PostOrderOptions {
  readonly url: string;
  readonly run: string;
  readonly mode: CheckoutMode | undefined;
}

/** The key under which a run posts an invoice. */
export function keyOf(run: string, invoice: string): string {
  return `replay-${run}-${encodeURIComponent(invoice)}`;
}

/** Posts one order, and asks again with its key until there is an answer. */
export async function postOrder(
  client: ShopClient,
  planned: PlannedOrder,
  options: PostOrderOptions,
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
