/** Sagas to be drawn and checked: one that uses everything, and one that forgets something. */
import { z } from "zod";
import { event, saga } from "../../src/index.ts";
import type { SagaDefinition } from "../../src/index.ts";

interface Order {
  readonly orderId: string;
}

const input = z.object({ orderId: z.string() });
const key = (data: Order): string => data.orderId;
const ReserveStock = event("stock.reserve", { version: 1, schema: input, key });
const ReleaseStock = event("stock.release", { version: 1, schema: input, key });
const StockReserved = event("stock.reserved", { version: 1, schema: input, key });
const StockReleased = event("stock.released", { version: 1, schema: input, key });
const none = (): Promise<void> => Promise.resolve();

export const checkout: SagaDefinition<Order, undefined> = saga("checkout", {
  version: 2,
  input,
  deadlineMs: 600_000,
})
  .step("create-order", { local: none, compensate: none })
  .step("reserve-stock", {
    send: ({ input: order }) => ReserveStock.of(order),
    done: StockReserved,
    compensate: {
      send: ({ input: order }) => ReleaseStock.of(order),
      done: StockReleased,
      needs: ["hold-money"],
    },
  })
  .parallel("prepare", (group) =>
    group
      .step("score-risk", { run: none, readOnly: true })
      .step("hold-money", { run: none, compensate: none, timeoutMs: 1_500 }),
  )
  .branch("size", () => (Math.abs(1) > 2 ? "large" : "small"), {
    large: (branch) => branch.step("insure", { run: none, compensate: none }),
    small: (branch) => branch,
  })
  .pivot("capture-money", { run: none })
  .step("end", { run: none })
  .end();

export const careless: SagaDefinition<Order, undefined> = saga("careless", { version: 1, input })
  .step("charge", { run: none })
  .step("ship", { run: none, compensate: none })
  .step("thank", { run: none })
  .end();
