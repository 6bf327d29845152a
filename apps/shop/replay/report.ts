import type { Reconciliation } from "../contracts/http/reconciliation.ts";
import type { Audit } from "./audit.ts";
import { formatPence } from "./money.ts";
import type { Plan } from "./plan.ts";
import type { PostedOrder } from "./post-order.ts";
import type { PostedReturn } from "./post-return.ts";
import { percentile } from "./statistics.ts";
import type { StockDifference } from "./stock.ts";

/** All that a replay has found out. */
export interface ReplayFacts {
  readonly plan: Plan;
  readonly posted: readonly PostedOrder[];
  /** Orders that were meant to be posted and were not. */
  readonly unpostedCount: number;
  readonly returns: readonly PostedReturn[];
  /** Returns that were accepted and did not come to their end. */
  readonly openReturns: readonly string[];
  readonly audit: Audit;
  readonly stock: readonly StockDifference[];
  readonly reconciliation: Reconciliation;
  readonly retryCount: number;
  readonly killed: readonly string[];
  readonly postingSeconds: number;
  /** From the first post until the last order was final. */
  readonly totalSeconds: number;
}

/** The report as it is printed, and whether everything agrees. */
export interface Report {
  readonly text: string;
  readonly ok: boolean;
}

const shownMax = 20;

/** Writes down what a replay came to; `ok` when every order is final and nothing disagrees. */
export function reportOf(facts: ReplayFacts): Report {
  const troubles = troublesOf(facts);
  const lines = [
    ...fileLines(facts.plan),
    "",
    ...orderLines(facts),
    "",
    ...moneyLines(facts),
    "",
    ...speedLines(facts),
    "",
    ...(troubles.length === 0
      ? ["Everything agrees."]
      : [`${troubles.length} things are wrong:`, ...shorten(troubles)]),
  ];
  return { text: lines.join("\n"), ok: troubles.length === 0 };
}

function troublesOf(facts: ReplayFacts): readonly string[] {
  const { posted, unpostedCount, audit, stock, reconciliation } = facts;
  return [
    ...(unpostedCount > 0
      ? [`${number(unpostedCount)} orders were not posted: the shop gave no answer`]
      : []),
    ...posted.flatMap((each) =>
      each.kind === "refused" ? [`invoice ${each.planned.invoice} was refused: ${each.why}`] : [],
    ),
    ...facts.returns.flatMap((each) =>
      each.kind === "failed" ? [`invoice ${each.planned.invoice} failed: ${each.why}`] : [],
    ),
    ...audit.notFinal.map((order) => `not final: ${order}`),
    ...facts.openReturns.map((each) => `not final: ${each}`),
    ...audit.duplicates.map((order) => `duplicate: ${order}`),
    ...audit.disagreements,
    ...stock.map(
      ({ productId, expected, actual }) =>
        `product ${productId}: expected ${expected}; the shop says ${actual}`,
    ),
    ...(audit.money.provider === undefined ? ["the provider's ledger could not be read"] : []),
    ...reconciliation.disagreements.map(
      ({ kind, id, expected, actual }) =>
        `reconciliation: ${kind} ${id}: expected ${expected}, actual ${actual}`,
    ),
    ...(reconciliation.ok || reconciliation.disagreements.length > 0
      ? []
      : ["reconciliation is not ok, and says not why"]),
  ];
}

function fileLines(plan: Plan): readonly string[] {
  const { lineCount, invoiceCount, orders, products, rejects, returns } = plan;
  const rejected = [...rejects].sort(([, one], [, other]) => other - one);
  const total = rejected.reduce((sum, [, count]) => sum + count, 0);
  return [
    row("file", `${number(lineCount)} lines of ${number(invoiceCount)} invoices`),
    row("orders", `${number(orders.length)}, of ${number(products.length)} products`),
    row("returns", `${number(returns.invoiceCount)}, of ${number(returns.lineCount)} lines`),
    row("lines rejected", number(total)),
    ...rejected.map(([reason, count]) => row("", `${number(count)} ${reason}`)),
    row("invoices rejected", `${number(plan.rejectedInvoiceCount)}, with no line left`),
    ...(plan.roundedCount > 0
      ? [row("prices rounded", `${number(plan.roundedCount)} were finer than a penny`)]
      : []),
  ];
}

function orderLines(facts: ReplayFacts): readonly string[] {
  const { posted, returns, openReturns, audit, retryCount, killed } = facts;
  const accepted = posted.filter(({ kind }) => kind === "accepted").length;
  const reasons = [...audit.reasons].map(([reason, count]) => `${number(count)} ${reason}`);
  return [
    row("posted", `${number(posted.length)}: ${number(accepted)} accepted`),
    ...[...audit.byStatus].map(([status, count]) => {
      const why = status === "CANCELED" && reasons.length > 0 ? `: ${reasons.join(", ")}` : "";
      return row(status, number(count) + why);
    }),
    ...returnLines(returns),
    row("not final", number(audit.notFinal.length + openReturns.length)),
    row("duplicates", number(audit.duplicates.length)),
    row("calls repeated", number(retryCount)),
    ...(killed.length > 0 ? [row("killed", `${number(killed.length)}: ${killed.join(" ")}`)] : []),
  ];
}

function returnLines(returns: readonly PostedReturn[]): readonly string[] {
  const accepted = returns.filter((each) => each.kind === "accepted");
  const refused = returns.filter(({ kind }) => kind === "refused").length;
  const refund = accepted.reduce((sum, each) => sum + each.refund, 0);
  const what = `accepted ${number(accepted.length)} (GBP ${formatPence(refund)})`;
  return [row("returned", `${what}, refused ${number(refused)}: no matching purchase`)];
}

function moneyLines({ audit, stock, reconciliation }: ReplayFacts): readonly string[] {
  const { orders, provider } = audit.money;
  const pieces = [...audit.sold.values()].reduce((sum, count) => sum + count, 0);
  const held = provider === undefined ? "unknown" : `GBP ${formatPence(provider)}`;
  const { money } = reconciliation;
  return [
    row(
      "money",
      `completed orders less returns GBP ${formatPence(orders)}, at the provider ${held}`,
    ),
    row("stock", `${number(pieces)} pieces sold, ${number(stock.length)} products differ`),
    row(
      "reconciliation",
      `${reconciliation.ok ? "ok" : "NOT OK"}, ${reconciliation.disagreements.length} disagreements, in flight ` +
        `${reconciliation.inFlight}; orders ${formatPence(money.orders)}, payments ` +
        `${formatPence(money.payments)}, provider ${formatPence(money.provider)}`,
    ),
  ];
}

function speedLines({
  posted,
  audit,
  postingSeconds,
  totalSeconds,
}: ReplayFacts): readonly string[] {
  const ms = audit.completionMs;
  const shares = [0.5, 0.95, 0.99].map((share) => {
    const value = percentile(ms, share);
    return `p${share * 100} ${value === undefined ? "–" : `${number(Math.round(value))} ms`}`;
  });
  const rate = (seconds: number): string =>
    seconds > 0 ? (posted.length / seconds).toFixed(1) : "–";
  return [
    row("orders/s", `accepted ${rate(postingSeconds)}, final ${rate(totalSeconds)}`),
    row("to COMPLETED", shares.join(", ")),
  ];
}

function shorten(troubles: readonly string[]): readonly string[] {
  const shown = troubles.slice(0, shownMax).map((trouble) => `  ${trouble}`);
  const more = troubles.length - shown.length;
  return more > 0 ? [...shown, `  … and ${number(more)} more`] : shown;
}

function row(name: string, text: string): string {
  return `${name.padEnd(18)} ${text}`;
}

function number(value: number): string {
  return value.toLocaleString("en-US");
}
