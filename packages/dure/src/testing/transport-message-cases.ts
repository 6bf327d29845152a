import assert from "node:assert/strict";
import { isDureError } from "../core/errors.ts";
import type { Message } from "../core/message.ts";
import { numbersByKey } from "./transport-probe.ts";
import type { TransportProbe } from "./transport-probe.ts";

/** One case before it has a probe. */
export interface TransportCase {
  readonly name: string;
  readonly check: (probe: TransportProbe) => Promise<void>;
}

/** What becomes of messages: order, content, fences. */
export const messageCases: readonly TransportCase[] = [
  { name: "says that it can be used", check: ({ transport }) => transport.check() },
  {
    name: "a message arrives with every attribute as it was sent, its data byte for byte",
    check: carriesEverything,
  },
  { name: "keys and data may hold any characters", check: carriesOddText },
  { name: "data of a megabyte arrives whole", check: carriesMuch },
  { name: "publishing nothing is accepted", check: acceptsNothing },
  { name: "the outcomes of a publication stand in the order of its messages", check: answersEach },
  {
    name: "the messages of a key come in order, across publications and small fetches",
    check: keepsOrder,
  },
  { name: "hundreds of keys all come, each in order", check: carriesManyKeys },
  { name: "publishers side by side keep the order of their keys", check: keepsOrderOfPublishers },
  { name: "an older epoch of a shard is refused and leaves nothing behind", check: fences },
  {
    name: "a topic that is out says so for each of its messages and takes none; the other topics go on",
    check: standsOutages,
  },
];

async function carriesEverything(probe: TransportProbe): Promise<void> {
  const sent: Message[] = [
    probe.message("a", 1, {
      type: "other.type",
      version: 32_767,
      data: '{ "b" : 1,\t"a":"\\u0041", "big":12345678901234567890 }',
      link: { kind: "first" },
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      tracestate: "vendor=1",
      correlationId: "action",
      causationId: "cause",
      tombstone: true,
      redriven: true,
    }),
    probe.message("a", 2, {
      link: { kind: "after", previousId: "p", previousAt: "2026-01-01T00:00:00.123456Z" },
    }),
    probe.message("a", 3),
  ];
  await probe.publish(sent);
  const received = await probe.receive(await probe.subscribe(), 3);
  assert.deepEqual(
    received.map(({ message }) => present(message)),
    sent,
  );
}

/** An attribute that is absent and one that is undefined are the same. */
function present(message: Message): object {
  return Object.fromEntries(Object.entries(message).filter(([, value]) => value !== undefined));
}

async function carriesOddText(probe: TransportProbe): Promise<void> {
  const keys = [
    " ",
    "-",
    "null",
    "0",
    "두레/주문",
    "ключ",
    "a b\tc\nd",
    "\"'`\\",
    '{1,"2",NULL}',
    "%s $1 ? :x",
    "\u2028",
    "🧾🇰🇷",
    "é",
    "e\u0301",
    "x".repeat(512),
  ];
  const sent = keys.map((key, index) =>
    probe.message(key, index, { data: JSON.stringify({ number: index, text: key }) }),
  );
  await probe.publish(sent);
  const received = await probe.receive(await probe.subscribe(), sent.length);
  const facts = ({ key, data }: Message): string => `${key}\n${data}`;
  assert.deepEqual(received.map(({ message }) => facts(message)).sort(), sent.map(facts).sort());
}

async function carriesMuch(probe: TransportProbe): Promise<void> {
  const data = JSON.stringify({ number: 1, text: "두".repeat(1_048_576 / 3) });
  await probe.publish([probe.message("a", 1, { data })]);
  const [delivery] = await probe.receive(await probe.subscribe(), 1);
  assert(delivery?.message.data === data, "the data differs");
}

async function acceptsNothing(probe: TransportProbe): Promise<void> {
  const subscription = await probe.subscribe();
  assert.deepEqual(await probe.publish([]), []);
  await probe.staysQuiet(subscription);
}

async function answersEach(probe: TransportProbe): Promise<void> {
  const outcomes = await probe.publish(
    [1, 2, 3].map((number) => probe.message(`${number}`, number)),
  );
  assert.deepEqual(
    outcomes,
    Array.from({ length: 3 }, () => ({ kind: "accepted" })),
  );
}

async function keepsOrder(probe: TransportProbe): Promise<void> {
  const keys = ["a", "b", "c", "d", "e"];
  const subscription = await probe.subscribe();
  for (let round = 0; round < 20; round += 1) {
    // Several of a key in one batch, and the next ones in the next.
    const numbers = [round * 2, round * 2 + 1];
    await probe.publish(numbers.flatMap((number) => keys.map((key) => probe.message(key, number))));
  }
  const received = await probe.receive(subscription, keys.length * 40, { maxMessages: 3 });
  const expected = Array.from({ length: 40 }, (_, number) => number);
  const byKey = numbersByKey(received);
  for (const key of keys) assert.deepEqual(byKey[key], expected, `the order of key ${key}`);
}

async function carriesManyKeys(probe: TransportProbe): Promise<void> {
  const keys = Array.from({ length: 400 }, (_, index) => `key-${index}`);
  for (let number = 0; number < 3; number += 1) {
    await probe.publish(keys.map((key) => probe.message(key, number)));
  }
  const received = await probe.receive(await probe.subscribe(), keys.length * 3, {
    maxMessages: 500,
  });
  assert.equal(received.length, keys.length * 3);
  const byKey = numbersByKey(received);
  for (const key of keys) assert.deepEqual(byKey[key], [0, 1, 2], `the order of ${key}`);
}

async function keepsOrderOfPublishers(probe: TransportProbe): Promise<void> {
  const publishers = ["p", "q", "r", "s"];
  const numbers = Array.from({ length: 15 }, (_, number) => number);
  const subscription = await probe.subscribe();
  await Promise.all(
    publishers.map(async (name) => {
      for (const number of numbers) {
        await probe.publish([
          probe.message(`${name}/1`, number),
          probe.message(`${name}/2`, number),
        ]);
      }
    }),
  );
  const received = await probe.receive(subscription, publishers.length * 2 * numbers.length);
  for (const [key, own] of Object.entries(numbersByKey(received))) {
    assert.deepEqual(own, numbers, `the order of ${key}`);
  }
}

async function fences(probe: TransportProbe): Promise<void> {
  if (probe.subject.features?.fences === false) return;
  const { source } = probe.message("a", 0);
  const fence = (epoch: number, shard = 1) => [{ source, shard, epoch }];
  await probe.publish([probe.message("a", 1)], fence(7));
  await probe.publish([probe.message("a", 2)], fence(7));
  await probe.publish([probe.message("a", 3)], fence(8));
  await assert.rejects(
    probe.publish([probe.message("a", 4), probe.message("b", 4)], fence(7)),
    (error) => isDureError(error, "FENCED"),
  );
  // One stale shard refuses the whole publication: what it carries of other shards is sent again.
  await assert.rejects(
    probe.publish([probe.message("a", 5)], [...fence(1, 2), ...fence(7)]),
    (error) => isDureError(error, "FENCED"),
  );
  await probe.publish([probe.message("a", 6)], fence(1, 3));
  const subscription = await probe.subscribe();
  const received = await probe.receive(subscription, 4);
  assert.deepEqual(numbersByKey(received), { a: [1, 2, 3, 6] });
  await probe.staysQuiet(subscription);
}

async function standsOutages(probe: TransportProbe): Promise<void> {
  const { outage } = probe.subject;
  if (outage === undefined) return;
  const other = { topic: `${probe.topic}.other` };
  const messages = [probe.message("a", 1), probe.message("a", 1, other), probe.message("a", 2)];
  const subscription = await probe.subscribe({ topics: [probe.topic, other.topic] });
  const end = await outage(probe.topic);
  const kinds = async (): Promise<readonly string[]> =>
    (await probe.publish(messages)).map(({ kind }) => kind);
  assert.deepEqual(await kinds(), ["unavailable", "accepted", "unavailable"]);
  await probe.receive(subscription, 1);
  await probe.staysQuiet(subscription);
  await end();
  assert.deepEqual(await kinds(), ["accepted", "accepted", "accepted"]);
  const received = await probe.receive(subscription, 3);
  const own = received.filter(({ message }) => message.topic === probe.topic);
  assert.deepEqual(numbersByKey(own), { a: [1, 2] });
}
