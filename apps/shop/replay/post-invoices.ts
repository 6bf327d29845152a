import type { CheckoutMode } from "../contracts/http/orders.ts";
import { byCustomer, isReturn } from "./plan.ts";
import type { PlannedInvoice } from "./plan.ts";
import { postOrder } from "./post-order.ts";
import type { PostedOrder } from "./post-order.ts";
import { postReturn, waitForOrders } from "./post-return.ts";
import type { PostedReturn } from "./post-return.ts";
import type { ShopClient } from "./shop-client.ts";

/** How {@link postInvoices} goes about it. */
export interface PostOptions {
  readonly url: string;
  /** Distinguishes this run's keys from those of any other. */
  readonly run: string;
  /** Left to the shop when it is not given. */
  readonly mode: CheckoutMode | undefined;
  /** How many customers order at the same time. */
  readonly concurrency: number;
  /** How long a return waits for the orders before it. */
  readonly patienceMs: number;
  /** Called after each invoice, whatever became of it. */
  readonly onPosted: () => void;
  /** No further invoice is begun once it aborts. */
  readonly signal?: AbortSignal | undefined;
}

/** What became of posting a file. */
export interface PostedInvoices {
  readonly orders: PostedOrder[];
  readonly returns: PostedReturn[];
  /** Whether the shop gave an answer to each. */
  readonly isAnswering: boolean;
}

/**
 * Posts every invoice once, under a key made of its number. A customer's invoices follow one another in
 * the file's order, and a return waits until the orders before it are final; customers act side by side.
 *
 * When the shop gave no answer to one within the client's patience, no more are posted.
 */
export async function postInvoices(
  client: ShopClient,
  invoices: readonly PlannedInvoice[],
  options: PostOptions,
): Promise<PostedInvoices> {
  const queues = [...byCustomer(invoices)];
  const orders: PostedOrder[] = [];
  const returns: PostedReturn[] = [];
  let isAnswering = true;
  const postQueue = async (queue: readonly PlannedInvoice[]): Promise<void> => {
    // Orders of this customer that are not known to be final.
    let open: readonly string[] = [];
    for (const planned of queue) {
      if (!isAnswering || options.signal?.aborted === true) return;
      try {
        if (isReturn(planned)) {
          await waitForOrders(client, open, options);
          open = [];
          returns.push(await postReturn(client, planned, options));
        } else {
          const posted = await postOrder(client, planned, options);
          orders.push(posted);
          if (posted.kind === "accepted") open = [...open, posted.orderId];
        }
      } catch (error) {
        isAnswering = false;
        const why = error instanceof Error ? error.message : String(error);
        if (isReturn(planned)) returns.push({ kind: "failed", planned, why });
        else orders.push({ kind: "refused", planned, why });
      }
      options.onPosted();
    }
  };
  const work = async (): Promise<void> => {
    for (let queue = queues.shift(); queue !== undefined; queue = queues.shift()) {
      await postQueue(queue);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, work));
  return { orders, returns, isAnswering };
}
