import type { Message } from "../core/message.ts";
import type { LaterAttempt } from "../core/transport.ts";
import type { KafkaRecordToSend } from "./clients.ts";
import { headersOf, messageOf } from "./cloud-event.ts";
import type { MessageRecord } from "./cloud-event.ts";
import { integer, long } from "./dead-letter-topic.ts";
import type { RecordPlace, RecordPlaces } from "./dead-letter-topic.ts";

/** By which Spring's tools look for them; they count from 0. */
export function retryTopicsOf(topic: string, delaysMs: readonly number[]): readonly string[] {
  return delaysMs.map((_, index) => `${topic}-retry-${index}`);
}

/** The topic that a retry topic or a topic of dead letters belongs to; itself for any other. */
export function topicBehind(topic: string): string {
  return topic.replace(/-(retry-\d+|dlt)$/, "");
}

const names = {
  topic: "kafka_original-topic",
  partition: "kafka_original-partition",
  offset: "kafka_original-offset",
  timestamp: "kafka_original-timestamp",
  timestampType: "kafka_original-timestamp-type",
  group: "kafka_dlt-original-consumer-group",
  code: "kafka_exception-fqcn",
  error: "kafka_exception-message",
  attempts: "retry_topic-attempts",
  dueAt: "retry_topic-backoff-timestamp",
  firstAt: "retry_topic-original-timestamp",
} as const;

/**
 * A message as a record of the retry topic in which it waits: its own headers and those of Spring. The number
 * of the attempt that is to come is `retry_topic-attempts`, when it is due `retry_topic-backoff-timestamp`.
 *
 * Source: Spring for Apache Kafka, `RetryTopicHeaders` and `RetryTopicPublishingRecoverer` (`kafka_original-*`).
 */
export function retryRecord(
  attempt: LaterAttempt,
  options: {
    readonly delaysMs: readonly number[];
    readonly places: RecordPlaces;
    readonly now: number;
  },
): KafkaRecordToSend {
  const { message, group, code, error, attempts, delayMs } = attempt;
  const topics = retryTopicsOf(message.topic, options.delaysMs);
  const place = options.places.get(message);
  const headers: [string, Buffer][] = [
    [names.topic, Buffer.from(message.topic)],
    [names.group, Buffer.from(group)],
    [names.code, Buffer.from(code)],
    [names.error, Buffer.from(error)],
    [names.attempts, integer(attempts + 1)],
    [names.dueAt, long(BigInt(options.now + delayMs))],
  ];
  if (place !== undefined) {
    headers.push(
      [names.partition, integer(place.partition)],
      [names.offset, long(place.offset)],
      [names.timestamp, long(place.timestamp)],
      [names.timestampType, Buffer.from("CreateTime")],
      [names.firstAt, long(place.timestamp)],
    );
  }
  const named = headers.map(([name, value]) => [Buffer.from(name), value] as const);
  return {
    topic: topics[attempts - 1] ?? topics.at(-1) ?? message.topic,
    key: Buffer.from(message.key),
    value: Buffer.from(message.data),
    headers: new Map([...headersOf(message), ...named]),
  };
}

/** What a record of a retry topic is to a group: its message, and its place in its own topic; undefined: not this group's. */
export function retriedMessage(
  record: MessageRecord,
  { group, topic }: { readonly group: string; readonly topic: string },
): { readonly message: Message; readonly place: RecordPlace } | undefined {
  const headers = new Map(
    record.headers.map(([name, value]) => [name?.toString(), value ?? undefined] as const),
  );
  if (headers.get(names.group)?.toString() !== group) return undefined;
  const number = (name: string): bigint | undefined => numberOf(headers.get(name));
  const failures = Math.max(1, Number(number(names.attempts) ?? 2n) - 1);
  return {
    message: { ...messageOf({ ...record, topic }), failures },
    place: {
      partition: Number(number(names.partition) ?? BigInt(record.partition)),
      offset: number(names.offset) ?? record.offset,
      timestamp: number(names.timestamp) ?? record.timestamp,
      dueAt: Number(number(names.dueAt) ?? 0n),
    },
  };
}

/** Big-endian, of any length up to a long's: Java's `BigInteger` leaves out leading zeros. */
function numberOf(bytes: Buffer | undefined): bigint | undefined {
  if (bytes === undefined || bytes.length === 0 || bytes.length > 8) return undefined;
  return BigInt(`0x${bytes.toString("hex")}`);
}
