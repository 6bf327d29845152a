import { createWakeup } from "../core/abort.ts";
import type { Message } from "../core/message.ts";
import type {
  PartitionBatch,
  PublishOutcome,
  SubscribeOptions,
  Subscription,
  Transport,
} from "../core/transport.ts";

interface LogEntry {
  readonly position: number;
  readonly message: Message;
}

interface Group {
  readonly topics: Set<string>;
  readonly members: MemorySubscription[];
  /** Acknowledged position by partition. */
  readonly acknowledged: number[];
}

/** What {@link memoryTransport} takes. */
export interface MemoryTransportOptions {
  /** Asked for each message of a publication: a topic that is out takes nothing now. @defaultValue none is */
  readonly isOut?: (topic: string) => boolean;
}

const partitionCount = 4;

/**
 * A transport in this process's memory, for tests: everything is lost with the process. Within it, the
 * promises of {@link Transport} hold.
 */
export function memoryTransport(options: MemoryTransportOptions = {}): Transport {
  const log: LogEntry[][] = Array.from({ length: partitionCount }, () => []);
  const groups = new Map<string, Group>();
  let position = 0;
  return {
    name: "memory",
    check: () => Promise.resolve(),
    close: () => Promise.resolve(),
    publish(messages) {
      const outcomes = messages.map(({ topic }) => outcomeFor(topic, options));
      for (const [index, message] of messages.entries()) {
        if (outcomes[index]?.kind !== "accepted") continue;
        position += 1;
        log[partitionOf(message.key)]?.push({ position, message });
      }
      for (const group of groups.values()) for (const member of group.members) member.wake();
      return Promise.resolve(outcomes);
    },
    subscribe({ group: name, topics, from }: SubscribeOptions) {
      const start = from === "latest" ? position : 0;
      const group = groups.get(name) ?? {
        topics: new Set(),
        members: [],
        acknowledged: Array.from({ length: partitionCount }, () => start),
      };
      groups.set(name, group);
      for (const topic of topics) group.topics.add(topic);
      const subscription = new MemorySubscription(log, group);
      group.members.push(subscription);
      for (const member of group.members) member.wake();
      return Promise.resolve(subscription);
    },
  };
}

function outcomeFor(topic: string, { isOut }: MemoryTransportOptions): PublishOutcome {
  return isOut?.(topic) === true
    ? { kind: "unavailable", code: "TOPIC_OUT", error: `topic "${topic}" is out` }
    : { kind: "accepted" };
}

function partitionOf(key: string): number {
  let hash = 0;
  for (const character of key) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return hash % partitionCount;
}

/** Partitions are dealt to the members in turn; a member that joins or leaves deals them anew. */
class MemorySubscription implements Subscription {
  readonly #log: readonly (readonly LogEntry[])[];
  readonly #group: Group;
  readonly #wakeup = createWakeup();

  constructor(log: readonly (readonly LogEntry[])[], group: Group) {
    this.#log = log;
    this.#group = group;
  }

  wake(): void {
    this.#wakeup.wake();
  }

  wait(timeoutMs: number, signal: AbortSignal): Promise<"woken" | "timeout"> {
    return this.#wakeup.wait(timeoutMs, signal);
  }

  fetch({
    busy,
    maxMessages,
  }: {
    busy: ReadonlySet<number>;
    maxMessages: number;
  }): Promise<readonly PartitionBatch[]> {
    const { members, acknowledged, topics } = this.#group;
    const own = members.indexOf(this);
    const batches: PartitionBatch[] = [];
    for (const [partition, entries] of this.#log.entries()) {
      if (partition % members.length !== own || busy.has(partition)) continue;
      const from = acknowledged[partition] ?? 0;
      const deliveries = entries
        .filter((entry) => entry.position > from && topics.has(entry.message.topic))
        .slice(0, maxMessages);
      if (deliveries.length > 0) batches.push({ partition, deliveries });
    }
    return Promise.resolve(batches);
  }

  acknowledge(batch: PartitionBatch, count: number): Promise<void> {
    const { acknowledged } = this.#group;
    const last = batch.deliveries[count - 1];
    if (last !== undefined) {
      acknowledged[batch.partition] = Math.max(acknowledged[batch.partition] ?? 0, last.position);
    }
    return Promise.resolve();
  }

  close(): Promise<void> {
    const index = this.#group.members.indexOf(this);
    if (index >= 0) this.#group.members.splice(index, 1);
    for (const member of this.#group.members) member.wake();
    return Promise.resolve();
  }
}
