import type { KafkaAssignment, KafkaConsumer } from "./clients.ts";
import type { KafkaGroup } from "./kafka-group.ts";

/** A partition of a topic. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
}

/** Where a group begins in a partition, and whether the broker keeps that already. */
export interface Start {
  readonly offset: bigint;
  readonly isCommitted: boolean;
}

/** The Kafka protocol's words for the ends of a partition. */
const timestamps = { earliest: -2n, latest: -1n } as const;

/** One word for a partition of a topic. */
export function nameOf(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}

/** Where each partition begins: where the group was, or, if it is new there, at one end. */
export async function startsOf(
  group: KafkaGroup,
  places: readonly Place[],
  from: "earliest" | "latest" = "earliest",
): Promise<ReadonlyMap<string, Start>> {
  const committed = await group.committed(assignmentsOf(places));
  const isNew = ({ topic, partition }: Place): boolean =>
    (committed.get(topic)?.[partition] ?? -1n) < 0n;
  const ends = await bounds(group.reader, places.filter(isNew), from);
  return new Map(
    places.map((place) => {
      const { topic, partition } = place;
      const isCommitted = !isNew(place);
      const offset = (isCommitted ? committed : ends).get(topic)?.[partition] ?? 0n;
      return [nameOf(topic, partition), { offset, isCommitted }];
    }),
  );
}

/** The first or the next offset of each partition, by topic. */
export async function bounds(
  reader: KafkaConsumer,
  places: readonly Place[],
  end: "earliest" | "latest",
): Promise<ReadonlyMap<string, readonly bigint[]>> {
  if (places.length === 0) return new Map();
  const assignments = assignmentsOf(places);
  return reader.listOffsets({
    topics: assignments.map(({ topic }) => topic),
    partitions: Object.fromEntries(assignments.map((each) => [each.topic, each.partitions])),
    timestamp: timestamps[end],
  });
}

function assignmentsOf(places: readonly Place[]): KafkaAssignment[] {
  return [...Map.groupBy(places, ({ topic }) => topic)].map(([topic, own]) => ({
    topic,
    partitions: own.map(({ partition }) => partition),
  }));
}
