import assert from "node:assert/strict";
import type { Delivery, Subscription } from "../core/transport.ts";
import type { TransportCase } from "./transport-message-cases.ts";
import { numberOf, numbersByKey, steady } from "./transport-probe.ts";
import type { TransportProbe } from "./transport-probe.ts";

/** What groups and their members get, and when. */
export const groupCases: readonly TransportCase[] = [
  { name: "each group gets every message", check: servesEachGroup },
  { name: "a subscription gets its topics and no others", check: separatesTopics },
  {
    name: "a group that is new begins at the earliest message, or at the latest when told so",
    check: beginsWhereTold,
  },
  {
    name: "a group that is known goes on where it was, wherever new ones begin",
    check: remembersGroups,
  },
  { name: "what is fetched and not acknowledged is delivered again", check: deliversAgain },
  {
    name: "what is acknowledged is not delivered again, what is behind it is",
    check: goesOnBehind,
  },
  { name: "a fetch keeps to its limit and leaves busy partitions alone", check: keepsToLimits },
  {
    name: "wait ends when a message comes, when its time is over, and when its signal aborts",
    check: wakes,
  },
  { name: "the members of a group share the partitions, and nothing comes twice", check: shares },
  { name: "a member that closes hands its partitions over at once", check: handsOver },
];

async function servesEachGroup(probe: TransportProbe): Promise<void> {
  const one = await probe.subscribe({ group: `${probe.group}.one` });
  await probe.publish([probe.message("a", 1), probe.message("a", 2)]);
  const two = await probe.subscribe({ group: `${probe.group}.two` });
  for (const subscription of [one, two]) {
    assert.deepEqual(numbersByKey(await probe.receive(subscription, 2)), { a: [1, 2] });
  }
}

async function separatesTopics(probe: TransportProbe): Promise<void> {
  const [first, second, other] = ["first", "second", "other"].map(
    (name) => `${probe.topic}.${name}`,
  );
  assert(first !== undefined && second !== undefined && other !== undefined);
  const both = await probe.subscribe({ topics: [first, second] });
  const numbers = [0, 1, 2, 3, 4];
  for (const number of numbers) {
    await probe.publish(
      [first, second, other].map((topic) => probe.message("a", number, { topic })),
    );
  }
  const received = await probe.receive(both, 10, { maxMessages: 3 });
  const byTopic = Map.groupBy(received, (delivery) => delivery.message.topic);
  assert.deepEqual([...byTopic.keys()].sort(), [first, second]);
  for (const own of byTopic.values()) assert.deepEqual(own.map(numberOf), numbers);
  await probe.staysQuiet(both);
}

async function beginsWhereTold(probe: TransportProbe): Promise<void> {
  await probe.publish([probe.message("a", 1), probe.message("b", 1)]);
  const latest = await probe.subscribe({ group: `${probe.group}.latest`, from: "latest" });
  const earliest = await probe.subscribe({ group: `${probe.group}.earliest`, from: "earliest" });
  await probe.publish([probe.message("a", 2), probe.message("b", 2)]);
  assert.deepEqual(numbersByKey(await probe.receive(earliest, 4)), { a: [1, 2], b: [1, 2] });
  assert.deepEqual(numbersByKey(await probe.receive(latest, 2)), { a: [2], b: [2] });
}

async function remembersGroups(probe: TransportProbe): Promise<void> {
  const first = await probe.subscribe({ from: "latest" });
  await first.close();
  await probe.publish([probe.message("a", 1)]);
  const second = await probe.subscribe({ from: "latest" });
  assert.deepEqual(numbersByKey(await probe.receive(second, 1)), { a: [1] });
  await second.close();
  await probe.staysQuiet(await probe.subscribe({ from: "earliest" }));
}

async function deliversAgain(probe: TransportProbe): Promise<void> {
  await probe.publish([probe.message("a", 1), probe.message("a", 2)]);
  const first = await probe.subscribe();
  for (const attempt of ["first", "second"]) {
    const received = await probe.receive(first, 2, { acknowledges: false });
    assert.deepEqual(numbersByKey(received), { a: [1, 2] }, `the ${attempt} fetch`);
  }
  await first.close();
  const again = await probe.receive(await probe.subscribe(), 2);
  assert.deepEqual(numbersByKey(again), { a: [1, 2] }, "the next member");
}

async function goesOnBehind(probe: TransportProbe): Promise<void> {
  await probe.publish([1, 2, 3].map((number) => probe.message("a", number)));
  const first = await probe.subscribe();
  await probe.receive(first, 3, { acknowledges: false });
  const [batch] = await first.fetch({ busy: new Set(), maxMessages: 10, signal: steady });
  assert(batch !== undefined);
  await first.acknowledge(batch, 2);
  assert.deepEqual(numbersByKey(await probe.receive(first, 1, { acknowledges: false })), {
    a: [3],
  });
  await first.close();
  const second = await probe.subscribe();
  assert.deepEqual(numbersByKey(await probe.receive(second, 1)), { a: [3] });
  await second.close();
  await probe.staysQuiet(await probe.subscribe());
}

async function keepsToLimits(probe: TransportProbe): Promise<void> {
  const keys = Array.from({ length: 40 }, (_, index) => `key-${index}`);
  await probe.publish(keys.flatMap((key) => [probe.message(key, 1), probe.message(key, 2)]));
  const subscription = await probe.subscribe();
  await probe.receive(subscription, 80, { acknowledges: false });
  const batches = await subscription.fetch({ busy: new Set(), maxMessages: 2, signal: steady });
  for (const { partition, deliveries } of batches) {
    assert(
      deliveries.length <= 2,
      `partition ${partition} gave ${deliveries.length} messages, 2 at most were asked for`,
    );
  }
  const busy = new Set(batches.slice(1).map((batch) => batch.partition));
  const rest = await subscription.fetch({ busy, maxMessages: 2, signal: steady });
  const free = batches.slice(0, 1).map((batch) => batch.partition);
  assert.deepEqual(
    rest.map((batch) => batch.partition),
    free,
  );
}

async function wakes(probe: TransportProbe): Promise<void> {
  const subscription = await probe.subscribe();
  await probe.publish([probe.message("a", 1)]);
  await probe.receive(subscription, 1);
  const until = performance.now() + (probe.subject.patienceMs ?? 10_000);
  // It may be woken for nothing, but in the end its time is over.
  while ((await subscription.wait(30, steady)) !== "timeout") assert(performance.now() < until);
  const news = probe.receive(subscription, 1);
  await probe.publish([probe.message("a", 2)]);
  await news;
  const stop = new AbortController();
  const stopped = subscription.wait(60_000, stop.signal);
  stop.abort();
  await stopped;
  assert(performance.now() < until, "wait did not end with its signal");
}

async function shares(probe: TransportProbe): Promise<void> {
  const { seen } = await balance(probe);
  const ids = seen.flat().map((delivery) => delivery.message.id);
  assert.equal(new Set(ids).size, ids.length, "a message came to two members");
}

async function handsOver(probe: TransportProbe): Promise<void> {
  const { members, published, seen } = await balance(probe);
  const [leaving, staying] = members;
  assert(leaving !== undefined && staying !== undefined);
  await leaving.close();
  const startedAt = performance.now();
  const number = published / keysToShare.length;
  await probe.publish(keysToShare.map((key) => probe.message(key, number)));
  const missing = published + keysToShare.length - seen.flat().length;
  const received = await probe.receive(staying, missing);
  const tookMs = Math.round(performance.now() - startedAt);
  const limit = probe.subject.handOverMsMax ?? 2_500;
  assert(tookMs < limit, `handing over took ${tookMs} ms, ${limit} at most`);
  for (const own of Object.values(numbersByKey(received))) assert.equal(own.at(-1), number);
}

const keysToShare: readonly string[] = Array.from({ length: 60 }, (_, index) => `key-${index}`);

/** Publishes to a group of two, twice at least, until both have got something and everything has come. */
async function balance(probe: TransportProbe): Promise<{
  readonly members: readonly Subscription[];
  readonly seen: readonly (readonly Delivery[])[];
  readonly published: number;
}> {
  const members = [await probe.subscribe(), await probe.subscribe()];
  const seen: Delivery[][] = [[], []];
  const deadline = performance.now() + (probe.subject.patienceMs ?? 10_000);
  let published = 0;
  const isDone = (): boolean =>
    published >= 2 * keysToShare.length &&
    seen.flat().length >= published &&
    seen.every((own) => own.length > 0);
  while (!isDone()) {
    assert(
      performance.now() < deadline,
      `of ${published} messages the members got ${seen.map((own) => own.length).join(" and ")}`,
    );
    if (seen.flat().length >= published) {
      await probe.publish(
        keysToShare.map((key) => probe.message(key, published / keysToShare.length)),
      );
      published += keysToShare.length;
    }
    for (const [index, member] of members.entries()) {
      for (const batch of await member.fetch({
        busy: new Set(),
        maxMessages: 100,
        signal: steady,
      })) {
        await member.acknowledge(batch, batch.deliveries.length);
        seen[index]?.push(...batch.deliveries);
      }
      await member.wait(10, steady);
    }
  }
  return { members, seen, published };
}
