import type { OrderView } from "../contracts/http/orders.ts";
import type { OrderBalance } from "../contracts/http/provider.ts";
import type { PostedOrder } from "./post-orders.ts";

/** What was posted, and what is known about it afterwards. */
export interface AuditFacts {
  readonly posted: readonly PostedOrder[];
  /** Every order of the shop since the run began. */
  readonly orders: readonly OrderView[];
  /** The provider's ledger; undefined when it could not be asked. */
  readonly ledger: readonly OrderBalance[] | undefined;
}

/** What the facts come to. */
export interface Audit {
  readonly byStatus: ReadonlyMap<string, number>;
  readonly reasons: ReadonlyMap<string, number>;
  /** Orders that are neither COMPLETED nor CANCELED. */
  readonly notFinal: readonly string[];
  /** Orders that a run's customer has and that no answer named: an invoice bought twice. */
  readonly duplicates: readonly string[];
  readonly disagreements: readonly string[];
  /** In pence: what completed orders cost, and what the provider has taken for all orders. */
  readonly money: { readonly orders: number; readonly provider: number | undefined };
  /** Pieces that completed orders have sold, by product. */
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
  const disagreements: string[] = [];
  for (const posted of accepted) {
    disagreements.push(...orderDisagreements(posted, views.get(posted.orderId)));
    disagreements.push(...moneyDisagreements(views.get(posted.orderId), net));
  }
  const completed = mine.filter(({ status }) => status === "COMPLETED");
  return {
    byStatus: countBy(mine, ({ status }) => status),
    reasons: countBy(mine, ({ status, reason }) => (status === "CANCELED" ? reason : undefined)),
    notFinal: mine.filter((order) => !isFinal(order)).map(describe),
    duplicates: [...doubleAnswers(accepted), ...strangers(accepted, facts.orders)],
    disagreements,
    money: {
      orders: completed.reduce((sum, { amount }) => sum + amount, 0),
      provider: net && mine.reduce((sum, { orderId }) => sum + (net.get(orderId) ?? 0), 0),
    },
    sold: soldBy(completed),
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
): readonly string[] {
  if (view === undefined || net === undefined || !isFinal(view)) return [];
  const expected = view.status === "COMPLETED" ? view.amount : 0;
  const actual = net.get(view.orderId) ?? 0;
  if (actual === expected) return [];
  return [
    `order ${view.orderId} is ${view.status}: the provider should have ${expected}, has ${actual}`,
  ];
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

function soldBy(completed: readonly OrderView[]): ReadonlyMap<string, number> {
  const sold = new Map<string, number>();
  for (const { productId, quantity } of completed.flatMap(({ items }) => items)) {
    sold.set(productId, (sold.get(productId) ?? 0) + quantity);
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
