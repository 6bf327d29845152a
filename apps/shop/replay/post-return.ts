import { setTimeout as delay } from "node:timers/promises";
import { orderViewSchema } from "../contracts/http/orders.ts";
import { acceptedReturnSchema, returnViewSchema } from "../contracts/http/returns.ts";
import { merchant } from "./order-list.ts";
import type { PlannedReturn } from "./plan.ts";
import { keyOf } from "./post-order.ts";
import type { ShopClient } from "./shop-client.ts";

/** What became of posting one return. */
export type PostedReturn =
  | {
      readonly kind: "accepted";
      readonly planned: PlannedReturn;
      readonly returnId: string;
      readonly refund: number;
    }
  /** No purchase covers it: what the file takes back was bought before it begins, or is no product. */
  | { readonly kind: "refused"; readonly planned: PlannedReturn }
  | { readonly kind: "failed"; readonly planned: PlannedReturn; readonly why: string };

/** Where a return is posted. */
export interface PostReturnOptions {
  readonly url: string;
  readonly run: string;
}

const pollMs = 100;

/** Posts one return, and asks again with its key until there is an answer. */
export async function postReturn(
  client: ShopClient,
  planned: PlannedReturn,
  { url, run }: PostReturnOptions,
): Promise<PostedReturn> {
  const { customer: userId, items, invoice } = planned;
  const { status, body } = await client.send({
    url,
    path: "/returns",
    method: "POST",
    as: { userId, roles: ["customer"] },
    key: keyOf(run, invoice),
    body: { userId, items },
  });
  const accepted = status === 201 ? acceptedReturnSchema.safeParse(body) : undefined;
  if (accepted?.success === true) {
    const { returnId, refund } = accepted.data;
    return { kind: "accepted", planned, returnId, refund };
  }
  const text = JSON.stringify(body);
  if (status === 422 && text.includes("NO_MATCHING_PURCHASE")) return { kind: "refused", planned };
  return { kind: "failed", planned, why: `${status} ${text.slice(0, 300)}` };
}

/** Waits until these orders move no more by themselves, or for as long as the patience lasts. */
export async function waitForOrders(
  client: ShopClient,
  orderIds: readonly string[],
  { url, patienceMs }: { readonly url: string; readonly patienceMs: number },
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (const orderId of orderIds) {
    const call = { url, path: `/orders/${orderId}`, as: merchant };
    while (performance.now() < deadline) {
      const { status } = await client.ask(call, orderViewSchema);
      if (["COMPLETED", "CANCELED", "NEEDS_ATTENTION"].includes(status)) break;
      await delay(pollMs);
    }
  }
}

/** Waits until the returns are done. Answers those that are not when the patience is over. */
export async function awaitReturns(
  client: ShopClient,
  posted: readonly PostedReturn[],
  { url, patienceMs }: { readonly url: string; readonly patienceMs: number },
): Promise<readonly string[]> {
  const deadline = performance.now() + patienceMs;
  const open: string[] = [];
  for (const each of posted) {
    if (each.kind !== "accepted") continue;
    const call = { url, path: `/returns/${each.returnId}`, as: merchant };
    for (;;) {
      const { status } = await client.ask(call, returnViewSchema);
      if (status === "COMPLETED") break;
      if (status === "NEEDS_ATTENTION" || performance.now() > deadline) {
        open.push(`return ${each.returnId} (${status})`);
        break;
      }
      await delay(pollMs);
    }
  }
  return open;
}
