import { memoryTransport } from "../../src/memory/index.ts";
import type { Delivery, PartitionBatch, Subscription, Transport } from "../../src/index.ts";

/** A transport that breaks one promise, and the cases that must find it out. */
export interface BrokenTransport {
  readonly name: string;
  readonly make: () => Transport;
  readonly isCaughtBy: readonly string[];
  readonly features?: { readonly fences: boolean };
  /** It is told to have outages, and has none. */
  readonly hasOutages?: boolean;
}

/** One for each way in which a transport has been seen to be wrong. */
export const brokenTransports: readonly BrokenTransport[] = [
  {
    name: "one that loses the order of a fetch",
    make: () => receiving((batch) => ({ ...batch, deliveries: batch.deliveries.toReversed() })),
    isCaughtBy: ["the messages of a key come in order, across publications and small fetches"],
  },
  {
    name: "one that loses the order of a publication",
    make: () => ({
      ...withInner((inner) => ({
        publish: (messages, options) => inner.publish(messages.toReversed(), options),
      })),
    }),
    isCaughtBy: [
      "the messages of a key come in order, across publications and small fetches",
      "a message arrives with every attribute as it was sent, its data byte for byte",
    ],
  },
  {
    name: "one that acknowledges early",
    make: () =>
      subscribing((inner) => ({
        async fetch(request) {
          const batches = await inner.fetch(request);
          for (const batch of batches) await inner.acknowledge(batch, batch.deliveries.length);
          return batches;
        },
      })),
    isCaughtBy: [
      "what is fetched and not acknowledged is delivered again",
      "what is acknowledged is not delivered again, what is behind it is",
    ],
  },
  {
    name: "one that never acknowledges",
    make: () => subscribing(() => ({ acknowledge: () => Promise.resolve() })),
    isCaughtBy: [
      "what is acknowledged is not delivered again, what is behind it is",
      "the members of a group share the partitions, and nothing comes twice",
    ],
  },
  {
    name: "one whose members keep their partitions after they have closed",
    make: () => subscribing(() => ({ close: () => Promise.resolve() })),
    isCaughtBy: ["a member that closes hands its partitions over at once"],
  },
  {
    name: "one that parses the data and writes it anew",
    make: () =>
      receiving((batch) => ({
        ...batch,
        deliveries: batch.deliveries.map((delivery) => rewritten(delivery)),
      })),
    isCaughtBy: ["a message arrives with every attribute as it was sent, its data byte for byte"],
  },
  {
    name: "one that has one group for all",
    make: () =>
      withInner((inner) => ({
        subscribe: (options) => inner.subscribe({ ...options, group: "all" }),
      })),
    isCaughtBy: ["each group gets every message"],
  },
  {
    name: "one whose members each get everything",
    make: () => {
      let members = 0;
      return withInner((inner) => ({
        subscribe(options) {
          members += 1;
          return inner.subscribe({ ...options, group: `${options.group}.${members}` });
        },
      }));
    },
    isCaughtBy: ["the members of a group share the partitions, and nothing comes twice"],
  },
  {
    name: "one that always begins at the earliest",
    make: () =>
      withInner((inner) => ({
        subscribe: ({ group, topics }) => inner.subscribe({ group, topics }),
      })),
    isCaughtBy: [
      "a group that is new begins at the earliest message, or at the latest when told so",
    ],
  },
  {
    name: "one that ignores the limit of a fetch and what is busy",
    make: () =>
      subscribing((inner) => ({
        fetch: ({ signal }) => inner.fetch({ busy: new Set(), maxMessages: 1_000, signal }),
      })),
    isCaughtBy: ["a fetch keeps to its limit and leaves busy partitions alone"],
  },
  {
    name: "one that takes messages of a topic that is out",
    make: memoryTransport,
    hasOutages: true,
    isCaughtBy: [
      "a topic that is out says so for each of its messages and takes none; the other topics go on",
    ],
  },
  {
    name: "one that says it has fences and has none",
    make: memoryTransport,
    features: { fences: true },
    isCaughtBy: ["an older epoch of a shard is refused and leaves nothing behind"],
  },
];

function withInner(change: (inner: Transport) => Partial<Transport>): Transport {
  const inner = memoryTransport();
  return { ...inner, ...change(inner) };
}

function subscribing(change: (inner: Subscription) => Partial<Subscription>): Transport {
  return withInner((transport) => ({
    async subscribe(options) {
      const inner = await transport.subscribe(options);
      return {
        fetch: (request) => inner.fetch(request),
        wait: (timeoutMs, signal) => inner.wait(timeoutMs, signal),
        acknowledge: (batch, count) => inner.acknowledge(batch, count),
        close: () => inner.close(),
        ...change(inner),
      };
    },
  }));
}

function receiving(change: (batch: PartitionBatch) => PartitionBatch): Transport {
  return subscribing((inner) => ({
    fetch: async (request) => (await inner.fetch(request)).map(change),
  }));
}

function rewritten(delivery: Delivery): Delivery {
  const data = JSON.stringify(JSON.parse(delivery.message.data));
  return { ...delivery, message: { ...delivery.message, data } };
}
