import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { readShopCommand, readStartCommand } from "./shop-command.ts";
import { restartDelayMs } from "./supervised-process.ts";

test("npm start without options is the shop that the documentation promises", () => {
  expect(readStartCommand([])).toEqual({
    kind: "embedded",
    shop: {
      basePort: 4000,
      host: "127.0.0.1",
      data: resolve(".dure"),
      fresh: false,
      rateLimit: false,
      logLevel: "warn",
    },
  });
});

test("every option of npm start is heard", () => {
  const args = "--port 4100 --data /tmp/d --fresh --rate-limit --host 0.0.0.0 --log-level info";
  expect(readStartCommand(args.split(" "))).toEqual({
    kind: "embedded",
    shop: {
      basePort: 4100,
      host: "0.0.0.0",
      data: "/tmp/d",
      fresh: true,
      rateLimit: true,
      logLevel: "info",
    },
  });
});

test("npm run shop is the embedded shop unless --distributed is there", () => {
  expect(readShopCommand([]).kind).toBe("embedded");
  const args = ["--distributed", "--broker", "postgres", "--instances", "payment=2,order=3"];
  expect(readShopCommand(args)).toMatchObject({
    kind: "distributed",
    shop: { postgresUrl: undefined, instances: { payment: 2, order: 3, gateway: 1, provider: 1 } },
  });
});

test("--broker kafka is one flag, with the addresses of Kafka if it is elsewhere", () => {
  const brokersOf = (line: string): unknown => readShopCommand(line.split(" "));
  expect(brokersOf("--distributed --broker kafka")).toMatchObject({
    shop: { broker: { kind: "kafka", brokers: ["127.0.0.1:9092"] } },
  });
  expect(brokersOf("--distributed --broker kafka --kafka-brokers a:1,b:2")).toMatchObject({
    shop: { broker: { kind: "kafka", brokers: ["a:1", "b:2"] } },
  });
  expect(brokersOf("--distributed")).toMatchObject({ shop: { broker: undefined } });
});

describe("what makes no sense is refused with a reason", () => {
  test.each([
    ["--porta 1", /Unknown option '--porta'/],
    ["--port", /argument missing/],
    ["--port abc", /--port must be a whole number from 1 to 65503/],
    ["--port 65504", /--port must be/],
    ["--port 0", /--port must be/],
    ["--port 4000 --port 4100", /--port is given twice/],
    ["--data=", /--data is empty/],
    ["--log-level loud", /--log-level must be one of: silent/],
    ["here", /Unexpected argument 'here'/],
    ["--broker postgres", /--broker needs --distributed/],
    ["--instances payment=2", /--instances needs --distributed/],
    ["--distributed --broker carrier-pigeon", /--broker must be one of/],
    ["--distributed --kafka-brokers a:1", /--kafka-brokers is not for --broker postgres/],
    ["--broker kafka --kafka-brokers a:1", /--broker needs --distributed/],
    ["--redis-url redis://x", /--redis-url needs --distributed/],
    ["--distributed --redis-url redis://x", /--redis-url is not for --broker postgres/],
    ["--distributed --instances payment", /must be a whole number/],
    ["--distributed --instances payment=0", /must be a whole number/],
    ["--distributed --instances payments=2", /'payments=2' is not like payment=2/],
    ["--distributed --instances provider=2", /there is one/],
  ])("%s", (args, message) => {
    expect(() => readShopCommand(args.split(" "))).toThrow(message);
  });
});

test("a process that keeps dying is started again ever more slowly, up to five seconds", () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 100].map(restartDelayMs);
  expect(delays).toEqual([200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});
