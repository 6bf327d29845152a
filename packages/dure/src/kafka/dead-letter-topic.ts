import type { Message } from "../core/message.ts";
import type { DeadLetterNotice } from "../core/transport.ts";
import type { KafkaRecordToSend } from "./clients.ts";
import { headersOf } from "./cloud-event.ts";

/** Where a message was read. */
export interface RecordPlace {
  readonly partition: number;
  readonly offset: bigint;
  readonly timestamp: bigint;
  /** In a retry topic: when it may be tried again, in milliseconds since the epoch. */
  readonly dueAt?: number;
}

/** Where messages were read, as long as they are in memory: a later attempt has its message from the database. */
export type RecordPlaces = WeakMap<Message, RecordPlace>;

/** A dead letter as a record of its own topic: the message's headers, and why it is there. */
export function deadLetterRecord(
  notice: DeadLetterNotice,
  places: RecordPlaces,
): KafkaRecordToSend {
  const { message } = notice;
  return {
    topic: `${message.topic}${suffix}`,
    key: Buffer.from(message.key),
    value: Buffer.from(message.data),
    headers: new Map([...headersOf(message), ...deadLetterHeaders(notice, places.get(message))]),
  };
}

/** By which Spring, and the tools made for it, look for a topic's dead letters. */
const suffix = "-dlt";

/**
 * The headers that Spring for Apache Kafka writes beside the message's own, and how: numbers big-endian.
 *
 * Source: Spring for Apache Kafka, `KafkaHeaders` (`kafka_dlt-*`) and `DeadLetterPublishingRecoverer`.
 */
function deadLetterHeaders(
  notice: DeadLetterNotice,
  place: RecordPlace | undefined,
): Map<Buffer, Buffer> {
  const { message, group, code, error, attempts } = notice;
  const headers: [string, Buffer][] = [
    ["kafka_dlt-original-topic", Buffer.from(message.topic)],
    ["kafka_dlt-original-consumer-group", Buffer.from(group)],
    ["kafka_dlt-exception-fqcn", Buffer.from(code)],
    ["kafka_dlt-exception-message", Buffer.from(error)],
    ["retry_topic-attempts", integer(attempts)],
  ];
  if (place !== undefined) {
    headers.push(
      ["kafka_dlt-original-partition", integer(place.partition)],
      ["kafka_dlt-original-offset", long(place.offset)],
      ["kafka_dlt-original-timestamp", long(place.timestamp)],
      ["kafka_dlt-original-timestamp-type", Buffer.from("CreateTime")],
    );
  }
  return new Map(headers.map(([name, value]) => [Buffer.from(name), value]));
}

/** As Java's `ByteBuffer` writes it. */
export function integer(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

/** As Java's `ByteBuffer` writes it. */
export function long(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}
