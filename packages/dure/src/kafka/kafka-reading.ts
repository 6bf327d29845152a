import type { Delivery } from "../core/transport.ts";
import type { KafkaConsumer, KafkaFetchedPartition } from "./clients.ts";
import { messageOf } from "./cloud-event.ts";
import type { RecordPlaces } from "./dead-letter-topic.ts";
import type { PartitionBuffer } from "./partition-buffer.ts";
import { retriedMessage } from "./retry-topic.ts";

/** A partition of a topic that is ours, and what is here of it. */
export interface OwnedPartition {
  /** By which the consumer knows it: the same as long as the subscription lives. */
  readonly number: number;
  readonly topic: string;
  readonly partition: number;
  readonly buffer: PartitionBuffer;
  /** Goes to another member: nothing is read or given any more. */
  isLeaving: boolean;
  /** Something was given and is not acknowledged. */
  isGiven: boolean;
  /** A retry topic: the topic whose messages wait in it. */
  readonly retries?: string | undefined;
  /** The offset behind the last record that the broker has. */
  end: bigint;
}

/** The limits of a fetch. */
export interface FetchLimits {
  readonly waitMs: number;
  readonly bytesMin: number;
  readonly bytesMax: number;
  readonly partitionBytesMax: number;
}

/** Asks one broker for what is behind each partition's buffer, and puts it there. Rejects when it does not answer. */
export async function readFrom(
  reader: KafkaConsumer,
  node: number,
  owned: readonly { readonly owned: OwnedPartition; readonly topicId: string }[],
  options: {
    readonly group: string;
    readonly limits: FetchLimits;
    readonly places: RecordPlaces;
  },
): Promise<void> {
  const { limits } = options;
  const asked = owned.map((each) => ({ ...each, from: each.owned.buffer.next }));
  const { responses } = await reader.fetch({
    node,
    maxWaitTime: limits.waitMs,
    minBytes: limits.bytesMin,
    maxBytes: limits.bytesMax,
    topics: [...Map.groupBy(asked, ({ topicId }) => topicId)].map(([topicId, partitions]) => ({
      topicId,
      partitions: partitions.map(({ owned: { partition }, from }) => ({
        partition,
        fetchOffset: from,
        currentLeaderEpoch: -1,
        lastFetchedEpoch: -1,
        partitionMaxBytes: limits.partitionBytesMax,
      })),
    })),
  });
  for (const { topicId, partitions } of responses) {
    for (const found of partitions) {
      const each = asked.find(
        (one) => one.topicId === topicId && one.owned.partition === found.partitionIndex,
      );
      // What was skipped or asked for anew meanwhile is not what came.
      if (each !== undefined && each.owned.buffer.next === each.from) {
        fill(each, found, options);
      }
    }
  }
}

/** Records of transactions' ends are no messages. */
const isControl = 0x20;

function fill(
  { owned, from }: { readonly owned: OwnedPartition; readonly from: bigint },
  found: KafkaFetchedPartition,
  { group, places }: { readonly group: string; readonly places: RecordPlaces },
): void {
  const { topic, partition, buffer, retries } = owned;
  const deliveries: Delivery[] = [];
  let next = from;
  for (const batch of found.records ?? []) {
    next = batch.firstOffset + BigInt(batch.lastOffsetDelta) + 1n;
    if ((batch.attributes & isControl) !== 0) continue;
    for (const { key, value, headers, offsetDelta, timestampDelta } of batch.records) {
      const offset = batch.firstOffset + BigInt(offsetDelta);
      if (offset < from) continue;
      const timestamp = batch.firstTimestamp + timestampDelta;
      const record = { topic, partition, offset, timestamp, key, value, headers };
      const read =
        retries === undefined
          ? { message: messageOf(record), place: { partition, offset, timestamp } }
          : retriedMessage(record, { group, topic: retries });
      // In a retry topic, what another group waits for.
      if (read === undefined) continue;
      places.set(read.message, read.place);
      deliveries.push({ position: Number(offset), message: read.message });
    }
  }
  buffer.append(deliveries, next);
  owned.end = found.highWatermark;
}
