/** A message is a CloudEvent in binary mode, and comes back as it was. */
import { describe, expect, it } from "vitest";
import type { Message } from "../core/message.ts";
import { headersOf, messageOf } from "./cloud-event.ts";

const message: Message = {
  id: "m-1",
  source: "order",
  topic: "order",
  key: "42",
  type: "order.created",
  version: 3,
  time: "2026-01-01T00:00:00.000Z",
  data: '{"n":1}',
  link: { kind: "after", previousId: "m-0", previousAt: "2025-12-31T00:00:00.000Z" },
  incarnation: 2,
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  redriven: true,
};

const place = { topic: "order", partition: 3, offset: 17n, timestamp: 1_767_225_600_000n };

describe("a record", () => {
  it("has the headers of CloudEvents' binary mode", () => {
    const texts = Object.fromEntries(
      [...headersOf(message)].map(([name, value]) => [name.toString(), value.toString()]),
    );
    expect(texts).toMatchObject({
      ce_specversion: "1.0",
      ce_id: "m-1",
      ce_source: "order",
      ce_type: "order.created",
      ce_time: "2026-01-01T00:00:00.000Z",
      "content-type": "application/json",
    });
    // Source: CloudEvents 1.0.2, "Attribute Naming Convention".
    for (const name of Object.keys(texts)) expect(name).toMatch(/^(ce_[a-z0-9]+|content-type)$/);
  });

  it("becomes the message again", () => {
    const headers = [...headersOf(message)];
    const record = { ...place, key: Buffer.from("42"), value: Buffer.from(message.data), headers };
    expect(messageOf(record)).toEqual(message);
  });

  it("of somebody else becomes a message that no handler knows, with an id from its place", () => {
    const headers = [[Buffer.from("ce_type"), Buffer.from("order.created")]] as const;
    const foreign = messageOf({ ...place, key: null, value: Buffer.from("<xml/>"), headers });
    expect(foreign).toEqual({
      id: "kafka/order/3/17",
      source: "kafka",
      topic: "order",
      key: "order/3/17",
      type: "kafka.not-a-cloudevent",
      version: 1,
      time: "2026-01-01T00:00:00.000Z",
      data: "<xml/>",
      link: { kind: "unverified" },
    });
  });
});
