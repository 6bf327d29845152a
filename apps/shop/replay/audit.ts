import type { OrderView } from "../contracts/http/orders.ts";
import type { OrderBalance } from "../contracts/http/provider.ts";
import type { PostedOrder } from "./post-order.ts";
import type { PostedReturn } from "./post-return.ts";

/** What was posted, and what is known about it afterwards. */
export interface AuditFacts {
  readonly posted: readonly PostedOrder[];
  readonly returns: readonly PostedReturn[];
  /** Whether orders may wait for an operator: deliveries were refused on purpose. */
  readonly mayPark: boolean;
  /** Every order of the shop since the run began. */
  readonly orders: readonly OrderView[];
  /** The provider's ledger; undefined when it could not be asked. */
  readonly ledger: readonly OrderBalance[] | undefined;
}

/** What the facts come to. */
export interface Audit {
  readonly byStatus: ReadonlyMap<string, number>;
  readonly reasons: ReadonlyMap<string, number>;
  /** Orders that are neither COMPLETED nor CANCELED, and should be. */
  readonly notFinal: readonly string[];
  /** Orders that a run's customer has and that no answer named: an invoice bought twice. */
  readonly duplicates: readonly string[];
  readonly disagreements: readonly string[];
  /** In pence: what was sold and kept, and what the provider has taken for all orders. */
  readonly money: { readonly orders: number; readonly provider: number | undefined };
  /** Pieces that were sold and kept, by product. */
  readonly sold: ReadonlyMap<string, number>;
  /** From acceptance to COMPLETED. */
  readonly completionMs: readonly number[];
  /** When the last order became final, in milliseconds since the epoch. */
  readonly lastFinalAt: number | undefined;
}

type Accepted = Extract<PostedOrder, { kind: "accepted" }>;

/** Compares what was posted with the shop's orders and the provider's ledger, order by order. */
export function audit(facts: AuditFacts): Audit {
  const accepted = facts.posted.filter((each): each is Accepted => each.kind === "accepted");
  const views = new Map(facts.orders.map((order) => [order.orderId, order]));
  const mine = accepted.flatMap(({ orderId }) => views.get(orderId) ?? []);
  const net = facts.ledger && new Map(facts.ledger.map((each) => [each.orderId, each.net]));
  const refunds = refundsOf(facts.returns);
  const disagreements: string[] = [];
  for (const posted of accepted) {
    disagreements.push(...orderDisagreements(posted, views.get(posted.orderId)));
    disagreements.push(...moneyDisagreements(views.get(posted.orderId), net, refunds));
  }
  disagreements.push(...refundDisagreements(mine, net, refunds));
  const completed = mine.filter(({ status }) => status === "COMPLETED");
  const parked = facts.mayPark ? mine.filter(isPastPivot) : [];
  const sales = [...completed, ...parked];
  return {
    byStatus: countBy(mine, ({ status }) => status),
    reasons: countBy(mine, ({ status, reason }) => (status === "CANCELED" ? reason : undefined)),
    notFinal: mine.filter((order) => !isFinal(order) && !parked.includes(order)).map(describe),
    duplicates: [...doubleAnswers(accepted), ...strangers(accepted, facts.orders)],
    disagreements,
    money: {
      orders: sumOf(sales.map(({ amount }) => amount)) - sumOf([...refunds.values()]),
      provider: net && mine.reduce((sum, { orderId }) => sum + (net.get(orderId) ?? 0), 0),
    },
    sold: soldBy(sales, facts.returns),
    completionMs: completed.flatMap((order) => {
      const at = order.history.find(({ status }) => status === "COMPLETED")?.at;
      return at === undefined ? [] : [Date.parse(at) - Date.parse(order.createdAt)];
    }),
    lastFinalAt: mine.reduce<number | undefined>(
      (last, { updatedAt }) => Math.max(last ?? 0, Date.parse(updatedAt)),
      undefined,
    ),
  };
}

function isFinal({ status }: OrderView): boolean {
  return status === "COMPLETED" || status === "CANCELED";
}

/** Its money is taken and its pieces are sold; delivery has refused it, and a person decides. */
function isPastPivot({ status, stage }: OrderView): boolean {
  return status === "NEEDS_ATTENTION" && stage === "PAYMENT_CAPTURED";
}

/** What went back to each customer. */
function refundsOf(returns: readonly PostedReturn[]): ReadonlyMap<string, number> {
  const refunds = new Map<string, number>();
  for (const each of returns) {
    if (each.kind !== "accepted") continue;
    const { customer } = each.planned;
    refunds.set(customer, (refunds.get(customer) ?? 0) + each.refund);
  }
  return refunds;
}

function orderDisagreements(posted: Accepted, view: OrderView | undefined): readonly string[] {
  const { orderId, planned } = posted;
  const label = `invoice ${planned.invoice}, order ${orderId}`;
  if (view === undefined) return [`${label}: accepted, but GET /orders does not list it`];
  const found: string[] = [];
  if (posted.amount !== planned.amount || view.amount !== planned.amount) {
    found.push(`${label}: costs ${planned.amount}, the shop says ${view.amount}`);
  }
  if (view.userId !== planned.customer) found.push(`${label}: belongs to ${view.userId}`);
  const lines = (items: OrderView["items"]): string =>
    JSON.stringify(
      items.map(({ productId, quantity, unitPrice }) => [productId, quantity, unitPrice]),
    );
  if (lines(view.items) !== lines(planned.items)) found.push(`${label}: has other items`);
  return found;
}

function moneyDisagreements(
  view: OrderView | undefined,
  net: ReadonlyMap<string, number> | undefined,
  refunds: ReadonlyMap<string, number>,
): readonly string[] {
  if (view === undefined || net === undefined) return [];
  if (!isFinal(view) && !isPastPivot(view)) return [];
  const { orderId, status, userId } = view;
  const expected = status === "CANCELED" ? 0 : view.amount;
  const actual = net.get(orderId) ?? 0;
  if (actual === expected) return [];
  // From which orders a return takes is the shop's to know; a customer's sum is compared as a whole.
  if (status === "COMPLETED" && refunds.has(userId) && actual >= 0 && actual < expected) return [];
  return [`order ${orderId} is ${status}: the provider should have ${expected}, has ${actual}`];
}

/** What customers who returned something have paid for all that they bought. */
function refundDisagreements(
  orders: readonly OrderView[],
  net: ReadonlyMap<string, number> | undefined,
  refunds: ReadonlyMap<string, number>,
): readonly string[] {
  if (net === undefined) return [];
  return [...refunds].flatMap(([customer, refund]) => {
    const bought = orders.filter(
      ({ status, userId }) => status === "COMPLETED" && userId === customer,
    );
    const expected = sumOf(bought.map(({ amount }) => amount)) - refund;
    const actual = sumOf(bought.map(({ orderId }) => net.get(orderId) ?? 0));
    if (actual === expected) return [];
    const what = `after returns of ${refund} the provider should have ${expected}, has ${actual}`;
    return [`customer ${customer}: ${what}`];
  });
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, each) => sum + each, 0);
}

/** Two invoices under one order: a key that was taken for another. */
function doubleAnswers(accepted: readonly Accepted[]): readonly string[] {
  const seen = new Map<string, string>();
  return accepted.flatMap(({ orderId, planned }) => {
    const other = seen.get(orderId);
    seen.set(orderId, planned.invoice);
    return other === undefined ? [] : [`order ${orderId}: answers ${other} and ${planned.invoice}`];
  });
}

function strangers(accepted: readonly Accepted[], orders: readonly OrderView[]): readonly string[] {
  const ids = new Set(accepted.map(({ orderId }) => orderId));
  const customers = new Set(accepted.map(({ planned }) => planned.customer));
  return orders
    .filter(({ orderId, userId }) => customers.has(userId) && !ids.has(orderId))
    .map((order) => `${describe(order)} of ${order.userId}: no answer named it`);
}

function soldBy(
  sales: readonly OrderView[],
  returns: readonly PostedReturn[],
): ReadonlyMap<string, number> {
  const sold = new Map<string, number>();
  const add = (productId: string, quantity: number): void => {
    sold.set(productId, (sold.get(productId) ?? 0) + quantity);
  };
  for (const { productId, quantity } of sales.flatMap(({ items }) => items)) {
    add(productId, quantity);
  }
  for (const each of returns) {
    if (each.kind !== "accepted") continue;
    for (const { productId, quantity } of each.planned.items) add(productId, -quantity);
  }
  return sold;
}

function describe({ orderId, status, stage }: OrderView): string {
  return `order ${orderId} (${status}, ${stage})`;
}

function countBy<T>(
  items: readonly T[],
  keyOf: (item: T) => string | undefined,
): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) {
    const key = keyOf(item);
    if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}
