/** A line of goods that come back. */
export interface ReturnLine {
  readonly productId: string;
  readonly quantity: number;
}

/** What is left of a line that was bought. */
export interface Purchase extends ReturnLine {
  readonly orderId: string;
  readonly line: number;
  readonly unitPrice: number;
}

/** What is taken from which purchases, or which lines (from 0) they do not cover. */
export type Allocation =
  | { readonly kind: "covered"; readonly shares: readonly Purchase[]; readonly refund: number }
  | { readonly kind: "uncovered"; readonly lines: readonly number[] };

/**
 * Takes each line, in their order, from the purchases of its product, in theirs. All or nothing:
 * also a line that stands behind one that is not covered is served, to name every one that is not.
 */
export function allocate(lines: readonly ReturnLine[], purchases: readonly Purchase[]): Allocation {
  const byProduct = Map.groupBy(purchases, (purchase) => purchase.productId);
  const left = new Map(purchases.map((purchase) => [purchase, purchase.quantity]));
  const uncovered: number[] = [];
  lines.forEach(({ productId, quantity }, at) => {
    let missing = quantity;
    for (const purchase of byProduct.get(productId) ?? []) {
      if (missing === 0) break;
      const rest = left.get(purchase) ?? 0;
      const taken = Math.min(rest, missing);
      left.set(purchase, rest - taken);
      missing -= taken;
    }
    if (missing > 0) uncovered.push(at);
  });
  if (uncovered.length > 0) return { kind: "uncovered", lines: uncovered };
  const shares = purchases.flatMap((purchase) => {
    const quantity = purchase.quantity - (left.get(purchase) ?? 0);
    return quantity === 0 ? [] : [{ ...purchase, quantity }];
  });
  const refund = shares.reduce((sum, share) => sum + share.quantity * share.unitPrice, 0);
  return { kind: "covered", shares, refund };
}
