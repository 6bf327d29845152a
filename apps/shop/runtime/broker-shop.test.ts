/** The same shop over Kafka and over Redis Streams, by one flag: killed services lose no order, no penny and no unit. */
import { expect, test } from "vitest";
import { kafkaIsMissing, startKafka } from "../../../tools/servers/kafka.ts";
import { leaveOut } from "../../../tools/servers/leave-out.ts";
import { findRedisServer, redisMissing, startRedisServer } from "../../../tools/servers/redis.ts";
import { startMs, startShopProcess } from "./testing/shop-process.ts";
import { eventually, shopAt } from "./testing/shop-under-test.ts";

interface StartedBroker extends AsyncDisposable {
  readonly options: readonly string[];
}

const brokers: Record<string, () => Promise<StartedBroker | string>> = {
  async kafka() {
    const missing = await kafkaIsMissing();
    if (missing !== undefined) return missing;
    const server = await startKafka();
    const options = ["--broker", "kafka", "--kafka-brokers", server.brokers.join(",")];
    return { options, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  },
  async redis() {
    if ((await findRedisServer()) === undefined) return redisMissing;
    const server = await startRedisServer();
    const options = ["--broker", "redis", "--redis-url", server.url];
    return { options, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  },
};

test.for(Object.entries(brokers))(
  "orders over %s survive kill -9 of the services that work on them",
  { timeout: 300_000 },
  async ([, start], context) => {
    const broker = await start();
    if (typeof broker === "string") return leaveOut(context, broker);
    await using _server = broker;
    await using running = await startShopProcess(broker.options);
    const { processes } = running;
    const shop = shopAt(running.url);
    const product = await shop.putProduct(1000);
    const post = (count: number): Promise<readonly string[]> =>
      Promise.all(Array.from({ length: count }, () => shop.order(product)));
    const before = await post(6);
    const victims = (await processes()).filter(({ name }) => ["payment", "order"].includes(name));
    expect(victims).toHaveLength(2);
    for (const { pid } of victims) process.kill(pid, "SIGKILL");
    const orderIds = [...before, ...(await post(10))];
    for (const id of orderIds) await shop.orderWith(id, "COMPLETED", startMs);
    expect(new Set(orderIds).size).toBe(16);
    expect(await shop.orderCount()).toBe(16);
    await shop.stockIs(product, { available: 968, reserved: 0, sold: 32 });
    const { disagreements, ok, money } = await shop.reconcile();
    expect(disagreements).toEqual([]);
    expect(ok).toBe(true);
    expect(money).toEqual({ orders: 16_000, payments: 16_000, provider: 16_000 });
    const after = await eventually(processes, (list) => list.length === 7);
    const pids = new Set(after.map(({ pid }) => pid));
    expect(victims.filter(({ pid }) => pids.has(pid))).toEqual([]);
  },
);
