import assert from "node:assert/strict";
import { newId } from "../core/id.ts";
import type { Message } from "../core/message.ts";
import type {
  Delivery,
  Fence,
  PublishOutcome,
  Subscription,
  Transport,
} from "../core/transport.ts";

/** A transport on which contract cases run, and what it says about itself. */
export interface TransportContractSubject {
  /** Cases share it and never meet: each uses topics, groups and sources of its own. The caller closes it. */
  readonly transport: Transport;
  /** What the transport cannot do is declared, and then not asked for. All are on by default. */
  readonly features?: {
    /** An older epoch of a shard is refused. @defaultValue true */
    readonly fences?: boolean;
  };
  /**
   * Makes a topic unable to take messages until the function that it resolves to is called, while the other
   * topics go on. Without it, nothing is asked about outages.
   */
  readonly outage?: (topic: string) => Promise<() => Promise<void>>;
  /** How long a case waits for a delivery before it fails. @defaultValue 10000 */
  readonly patienceMs?: number;
  /** How long a case watches that nothing comes. @defaultValue 150 */
  readonly quietMs?: number;
  /** Within this time others take over from a member that closes: less than any lease. @defaultValue 2500 */
  readonly handOverMsMax?: number;
}

/** What one case works with: names of its own, and the few things that cases do all the time. */
export interface TransportProbe {
  readonly subject: TransportContractSubject;
  readonly transport: Transport;
  readonly topic: string;
  readonly group: string;
  message(key: string, number: number, rest?: Partial<Message>): Message;
  publish(
    messages: readonly Message[],
    fences?: readonly Fence[],
  ): Promise<readonly PublishOutcome[]>;
  subscribe(options?: {
    readonly group?: string;
    readonly topics?: readonly string[];
    readonly from?: "earliest" | "latest";
  }): Promise<Subscription>;
  /** Fetches, and acknowledges unless told not to, until this many have come; fails when they do not. */
  receive(
    subscription: Subscription,
    count: number,
    options?: { readonly acknowledges?: boolean; readonly maxMessages?: number },
  ): Promise<readonly Delivery[]>;
  /** Fails when something comes. */
  staysQuiet(subscription: Subscription): Promise<void>;
  /** Closes what the case subscribed and has not closed. */
  close(): Promise<void>;
}

/** Never aborted. */
export const steady: AbortSignal = new AbortController().signal;

/** Makes the probe of one case. */
export function createProbe(subject: TransportContractSubject): TransportProbe {
  const { transport } = subject;
  const id = newId();
  const topic = `contract.${id}`;
  const group = `group.${id}`;
  const open = new Set<Subscription>();
  return {
    subject,
    transport,
    topic,
    group,
    message: (key, number, rest) => ({
      id: newId(),
      source: `source.${id}`,
      topic,
      key,
      type: "contract.numbered",
      version: 1,
      time: "2026-01-01T00:00:00.000Z",
      data: JSON.stringify({ number }),
      link: { kind: "unverified" },
      ...rest,
    }),
    publish: (messages, fences = []) => transport.publish(messages, { fences, signal: steady }),
    async subscribe(options) {
      const inner = await transport.subscribe({ group, topics: [topic], ...options });
      const subscription: Subscription = {
        fetch: (request) => inner.fetch(request),
        wait: (timeoutMs, signal) => inner.wait(timeoutMs, signal),
        acknowledge: (batch, count) => inner.acknowledge(batch, count),
        close() {
          open.delete(subscription);
          return inner.close();
        },
      };
      open.add(subscription);
      return subscription;
    },
    receive: (subscription, count, options) =>
      receive(subscription, count, { patienceMs: subject.patienceMs ?? 10_000, ...options }),
    staysQuiet: (subscription) => staysQuiet(subscription, subject.quietMs ?? 150),
    async close() {
      await Promise.all([...open].map((subscription) => subscription.close()));
    },
  };
}

/** What {@link TransportProbe.message} put in. */
export function numberOf(delivery: Delivery): number {
  const data: unknown = JSON.parse(delivery.message.data);
  assert(typeof data === "object" && data !== null && "number" in data);
  return Number(data.number);
}

/** The numbers of each key, in the order in which they came. */
export function numbersByKey(
  deliveries: readonly Delivery[],
): Readonly<Record<string, readonly number[]>> {
  const byKey = Map.groupBy(deliveries, (delivery) => delivery.message.key);
  return Object.fromEntries([...byKey].map(([key, own]) => [key, own.map(numberOf)]));
}

async function receive(
  subscription: Subscription,
  count: number,
  options: {
    readonly patienceMs: number;
    readonly acknowledges?: boolean;
    readonly maxMessages?: number;
  },
): Promise<readonly Delivery[]> {
  const { patienceMs, acknowledges = true, maxMessages = 100 } = options;
  const deadline = performance.now() + patienceMs;
  const received: Delivery[] = [];
  for (;;) {
    // Without acknowledging, the same messages come with every fetch.
    if (!acknowledges) received.length = 0;
    for (const batch of await subscription.fetch({
      busy: new Set(),
      maxMessages,
      signal: steady,
    })) {
      received.push(...batch.deliveries);
      if (acknowledges) await subscription.acknowledge(batch, batch.deliveries.length);
    }
    if (received.length >= count) return received;
    if (performance.now() > deadline) {
      assert.fail(`${received.length} of ${count} messages came within ${patienceMs} ms`);
    }
    await subscription.wait(20, steady);
  }
}

async function staysQuiet(subscription: Subscription, quietMs: number): Promise<void> {
  const deadline = performance.now() + quietMs;
  do {
    const batches = await subscription.fetch({ busy: new Set(), maxMessages: 10, signal: steady });
    const ids = batches.flatMap((batch) => batch.deliveries.map(({ message }) => message.id));
    assert.deepEqual(ids, [], "nothing more was to come");
    await subscription.wait(20, steady);
  } while (performance.now() < deadline);
}
