import { setTimeout as delay } from "node:timers/promises";
import { productViewSchema } from "../contracts/http/products.ts";
import type { ProductView } from "../contracts/http/products.ts";
import { merchant } from "./order-list.ts";
import { stockFor } from "./plan.ts";
import type { PlannedProduct, StockLevel } from "./plan.ts";
import type { ShopClient } from "./shop-client.ts";

/** A product on the shelf before the first order. */
export type StockBefore = ReadonlyMap<string, ProductView>;

/** A product whose figures are not what the completed orders make of them. */
export interface StockDifference {
  readonly productId: string;
  readonly expected: string;
  readonly actual: string;
}

const parallelMax = 16;
const readAgainMs = 500;

/** Puts every product of the plan on the shelf. */
export async function putStock(
  client: ShopClient,
  url: string,
  options: { readonly products: readonly PlannedProduct[]; readonly stock: StockLevel },
): Promise<StockBefore> {
  const before = new Map<string, ProductView>();
  await forEachOf(options.products, async (product) => {
    const body = { name: product.name, available: stockFor(product, options.stock) };
    const call = {
      url,
      path: pathOf(product.productId),
      method: "PUT",
      as: merchant,
      body,
    } as const;
    before.set(product.productId, await client.ask(call, productViewSchema));
  });
  return before;
}

/**
 * Compares the shelf with what the completed orders have sold. The figures follow within moments,
 * so what differs is read again for a while before it is reported.
 */
export async function compareStock(
  client: ShopClient,
  url: string,
  options: {
    readonly before: StockBefore;
    readonly sold: ReadonlyMap<string, number>;
    readonly patienceMs: number;
  },
): Promise<readonly StockDifference[]> {
  const deadline = performance.now() + options.patienceMs;
  let open = [...options.before.values()];
  for (;;) {
    const differences: StockDifference[] = [];
    await forEachOf(open, async (was) => {
      const call = { url, path: pathOf(was.productId), as: merchant };
      const is = await client.ask(call, productViewSchema);
      const sold = options.sold.get(was.productId) ?? 0;
      const expected = figures({ ...was, available: was.available - sold, sold: was.sold + sold });
      const actual = figures(is);
      if (expected !== actual) differences.push({ productId: was.productId, expected, actual });
    });
    if (differences.length === 0 || performance.now() > deadline) return differences;
    const ids = new Set(differences.map(({ productId }) => productId));
    open = open.filter(({ productId }) => ids.has(productId));
    await delay(readAgainMs);
  }
}

function figures({ available, reserved, sold }: ProductView): string {
  return `${available} available, ${reserved} reserved, ${sold} sold`;
}

function pathOf(productId: string): string {
  return `/products/${encodeURIComponent(productId)}`;
}

async function forEachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const workers = Array.from({ length: parallelMax }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  });
  await Promise.all(workers);
}
