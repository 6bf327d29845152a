import { DureError } from "../core/errors.ts";
import { keyOf } from "../core/message.ts";
import type { Message } from "../core/message.ts";
import type { PublishOutcome } from "../core/transport.ts";
import type { KafkaCompression, KafkaProducer, KafkaRecordToSend } from "./clients.ts";
import { headersOf } from "./cloud-event.ts";
import { keyHash } from "./key-partition.ts";
import { explain, faultOf } from "./kafka-error.ts";
import type { KafkaFault } from "./kafka-error.ts";
import type { KafkaTopics } from "./kafka-topics.ts";

/** What {@link KafkaPublisher} is made of. */
export interface KafkaPublisherParts {
  readonly producer: KafkaProducer;
  readonly topics: KafkaTopics;
  readonly compression: KafkaCompression;
  readonly requestBytesMax: number;
}

type Failure = Exclude<PublishOutcome, { readonly kind: "accepted" }>;

/** In the one request that is on its way: a message of the publication, by its place there. */
interface Item {
  readonly index: number;
  readonly message: Message;
  readonly record: KafkaRecordToSend;
  readonly bytes: number;
}

/**
 * The sending half. One request at a time: the client gives a request its sequence numbers some time after
 * it has read its producer id, and forgets both when another request fails; side by side, a request could
 * carry the numbers of one that the broker has seen, and would be dropped as its copy, silently.
 *
 * If the process dies here, whatever was not recorded is sent again, under the same ids.
 */
export class KafkaPublisher {
  readonly #parts: KafkaPublisherParts;
  /** Settles with the last request, also when nobody waits for it any more. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(parts: KafkaPublisherParts) {
    this.#parts = parts;
  }

  /** As {@link Publisher.publish}. @throws BROKER_UNAVAILABLE when the outcome is unknown */
  async publish(
    messages: readonly Message[],
    signal: AbortSignal,
  ): Promise<readonly PublishOutcome[]> {
    return this.#inTurn(() => this.#publishNow(messages, signal), signal);
  }

  /** Sends one record. Resolves to why it can never be sent, if it cannot; rejects when another try may help. */
  async send(record: KafkaRecordToSend, signal: AbortSignal): Promise<string | undefined> {
    return this.#inTurn(async () => {
      const missing = await this.#parts.topics.ensure([record.topic]);
      if (missing.length > 0) return topicMissing(record.topic).error;
      const fault = await this.#sendRecords([record]);
      if (fault === undefined) return undefined;
      if (fault.about === "message") return fault.error;
      this.#parts.topics.forget(record.topic);
      return unavailable(`Kafka did not take a record for "${record.topic}"`, fault);
    }, signal);
  }

  async #inTurn<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    const before = this.#tail;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tail = before.then(() => promise);
    try {
      // Behind a request that was given up too: what it carries must not be overtaken.
      await settledOrAborted(before, signal);
      return await work();
    } finally {
      resolve();
    }
  }

  /** Resolves when nothing is on its way. */
  async settled(): Promise<void> {
    await this.#tail;
  }

  async #publishNow(
    messages: readonly Message[],
    signal: AbortSignal,
  ): Promise<readonly PublishOutcome[]> {
    const outcomes: PublishOutcome[] = messages.map(() => ({ kind: "accepted" }));
    const byTopic = Map.groupBy(messages.entries(), ([, message]) => message.topic);
    const missing = await this.#parts.topics
      .ensure([...byTopic.keys()])
      .catch((error: unknown) => unavailable("Kafka could not be asked for its topics", error));
    for (const [topic, entries] of byTopic) {
      const failures = missing.includes(topic)
        ? entries.map(([index]) => [index, topicMissing(topic)] as const)
        : await this.#publishTopic(topic, entries.map(itemOf), signal);
      for (const [index, failure] of failures) outcomes[index] = failure;
    }
    return outcomes;
  }

  /** Resolves to the messages that were not taken, by their place in the publication. */
  async #publishTopic(
    topic: string,
    items: readonly Item[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<number, Failure>> {
    const failures = new Map<number, Failure>();
    /** Nothing of these keys follows: behind one that was not taken, none is. */
    const stopped = new Map<string, Failure>();
    const open = this.#batches(items);
    for (let batch = open.shift(); batch !== undefined; batch = open.shift()) {
      if (signal.aborted) throw givenUp();
      for (const { index, message } of batch) {
        const failure = stopped.get(keyOf(message));
        if (failure !== undefined) failures.set(index, failure);
      }
      const sendable = batch.filter(({ index }) => !failures.has(index));
      const fault = await this.#sendRecords(sendable.map(({ record }) => record));
      if (fault?.about === "broker") unavailable(`Kafka did not take events of "${topic}"`, fault);
      if (fault?.about === "topic") {
        this.#parts.topics.forget(topic);
        const failure: Failure = { kind: "unavailable", code: fault.code, error: fault.error };
        for (const { index } of [...sendable, ...open.flat()]) failures.set(index, failure);
        return failures;
      }
      if (fault === undefined) continue;
      const [first, ...others] = sendable;
      if (first !== undefined && others.length === 0) {
        const { code, error } = fault;
        const failure: Failure = { kind: "refused", code, error, isPermanent: true };
        failures.set(first.index, failure);
        stopped.set(keyOf(first.message), failure);
      } else {
        // One of them is guilty: look for it by halves. What was taken with it comes twice.
        const half = Math.ceil(sendable.length / 2);
        open.unshift(sendable.slice(0, half), sendable.slice(half));
      }
    }
    return failures;
  }

  async #sendRecords(records: KafkaRecordToSend[]): Promise<KafkaFault | undefined> {
    if (records.length === 0) return undefined;
    const { producer, compression } = this.#parts;
    try {
      await producer.send({
        messages: records,
        idempotent: true,
        acks: -1,
        compression,
        // Taken modulo the topic's partitions by the client, which knows them.
        partitioner: (_message, key) => keyHash(key ?? noBytes),
      });
      return undefined;
    } catch (error) {
      return faultOf(error);
    }
  }

  /** What goes out together, in order: the client makes of a request one record batch for each partition. */
  #batches(items: readonly Item[]): Item[][] {
    const batches: Item[][] = [];
    let current: Item[] = [];
    let bytes = 0;
    for (const item of items) {
      if (current.length > 0 && bytes + item.bytes > this.#parts.requestBytesMax) {
        batches.push(current);
        current = [];
        bytes = 0;
      }
      current.push(item);
      bytes += item.bytes;
    }
    if (current.length > 0) batches.push(current);
    return batches;
  }
}

const noBytes: Buffer = Buffer.alloc(0);
/** What headers and framing add to a record, about. */
const recordBytes = 400;

function itemOf([index, message]: [number, Message]): Item {
  const key = Buffer.from(message.key);
  const value = Buffer.from(message.data);
  const record = { topic: message.topic, key, value, headers: headersOf(message) };
  return { index, message, record, bytes: key.length + value.length + recordBytes };
}

function topicMissing(topic: string): Failure {
  return {
    kind: "unavailable",
    code: "UNKNOWN_TOPIC_OR_PARTITION",
    error: `topic "${topic}" does not exist and topics.creates is off: make it, and its events go out`,
  };
}

async function settledOrAborted(before: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>();
  const abort = (): void => aborted.resolve();
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  await Promise.race([before, aborted.promise]);
  signal.removeEventListener("abort", abort);
  if (signal.aborted) throw givenUp();
}

function givenUp(): DureError {
  return new DureError(
    "BROKER_UNAVAILABLE",
    "the publication was given up while an earlier one was still on its way to Kafka",
  );
}

function unavailable(what: string, cause: unknown): never {
  const why = (cause as Partial<KafkaFault> | null)?.error ?? explain(cause);
  throw new DureError("BROKER_UNAVAILABLE", `${what}: ${why}. They are sent again`, { cause });
}
