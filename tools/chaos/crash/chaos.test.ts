/**
 * A short run of `npm run chaos` on each broker: orders and returns, some twenty seconds in which processes, servers and
 * connections are spoiled as a seed says, and afterwards nothing is lost, doubled, out of order or left over.
 */
import { expect, test } from "vitest";
import { leaveOut } from "../../../packages/dure/test/support/leave-out.ts";
import { brokerIsMissing } from "../chaos-shop.ts";
import type { CheckoutMode } from "../../../apps/shop/contracts/http/orders.ts";
import { planOrders } from "../../../apps/shop/replay/plan.ts";
import type { CsvRecord } from "../../../apps/shop/replay/sale-line.ts";
import { runChaos } from "../run-chaos.ts";
import type { BrokerKind } from "../schedule.ts";

/** Far more than it takes: seven processes start on what may be two busy cores. */
const runMsMax = 400_000;

/** A choreographed order is several events of one key, so that there is an order to verify; an orchestrated one is one. */
const cases: readonly {
  readonly broker: BrokerKind;
  readonly seed: number;
  readonly seconds: number;
  readonly mode: CheckoutMode;
}[] = [
  { broker: "postgres", seed: 4, seconds: 25, mode: "choreography" },
  { broker: "redis", seed: 5, seconds: 20, mode: "orchestration" },
  { broker: "kafka", seed: 6, seconds: 20, mode: "choreography" },
];

test.for(cases)(
  "the shop on $broker is whole again after seed $seed",
  { timeout: runMsMax },
  async ({ broker, seed, seconds, mode }, context) => {
    const missing = await brokerIsMissing(broker);
    if (missing !== undefined) leaveOut(context, missing);
    const run = { broker, seed, durationMs: seconds * 1_000, limit: undefined, mode };
    const rest = { concurrency: 6, instances: {}, logLevel: "silent" };
    const told: string[] = [];
    const say = (text: string): void => void told.push(text);
    const options = { plan: planOrders(records()), say, progress: { show: say, end: () => {} } };
    const result = await runChaos({ ...run, ...rest }, options);
    expect(result.ok, [...told, result.text].join("\n")).toBe(true);
  },
);

/** Forty customers who buy twice and send something back, of few products, so that they meet. */
function records(): CsvRecord[] {
  return Array.from({ length: 120 }, (_, at) => {
    const isBack = at >= 80;
    return {
      InvoiceNo: `${isBack ? "C" : ""}${1000 + at}`,
      StockCode: `P${at % 7}`,
      Description: `Product ${at % 7}`,
      Quantity: isBack ? "-1" : String(1 + (at % 5)),
      UnitPrice: "2.55",
      CustomerID: String(at % 40),
    };
  });
}
