/** The parts of a Kafka client that Dure uses. `@platformatic/kafka` 2.12 fits them as it is. */

/** A record on its way to Kafka. */
export interface KafkaRecordToSend {
  topic: string;
  key: Buffer;
  value: Buffer;
  headers: Map<Buffer, Buffer>;
}

/** How the batches of records are compressed. */
export type KafkaCompression = "none" | "gzip" | "snappy" | "lz4" | "zstd";

/** What a publication is given to. Need not be idempotent by itself: each publication asks for that. */
export interface KafkaProducer {
  send(options: {
    messages: KafkaRecordToSend[];
    idempotent: boolean;
    acks: number;
    compression: KafkaCompression;
    partitioner: (message: unknown, key: Buffer | undefined) => number;
  }): Promise<unknown>;
}

/** What is known of topics. */
export interface KafkaMetadata {
  topics: Map<
    string,
    { id: string; partitionsCount: number; partitions: { leader: number; leaderEpoch: number }[] }
  >;
}

/** By which topics are looked up and created. */
export interface KafkaAdmin {
  listTopics(options: { includeInternals?: boolean }): Promise<string[]>;
  createTopics(options: {
    topics: { topic: string; partitions: number; replicas: number }[];
    configs: { name: string; value: string }[];
  }): Promise<unknown>;
  metadata(options: { topics: string[]; forceUpdate: boolean }): Promise<KafkaMetadata>;
  /** Of topics (`resourceType` 2). */
  describeConfigs(options: {
    resources: { resourceType: 2; resourceName: string; configurationKeys: string[] }[];
  }): Promise<
    { resourceName: string; configs: { name: string; value?: string | null | undefined }[] }[]
  >;
}

/** A partition of a topic, and a place in it: the next record to read. */
export interface KafkaOffset {
  topic: string;
  partition: number;
  offset: bigint;
  leaderEpoch: number;
}

/** The partitions of a topic. */
export interface KafkaAssignment {
  topic: string;
  partitions: number[];
}

/** One partition's records, as a fetch brings them. */
export interface KafkaFetchedPartition {
  partitionIndex: number;
  errorCode: number;
  highWatermark: bigint;
  records?:
    | {
        firstOffset: bigint;
        attributes: number;
        lastOffsetDelta: number;
        firstTimestamp: bigint;
        records: {
          offsetDelta: number;
          timestampDelta: bigint;
          key: Buffer | null;
          value: Buffer | null;
          headers: [Buffer | null, Buffer | null][];
        }[];
      }[]
    | null;
}

/** A member of a consumer group. Its stream of messages is not used: Dure fetches by itself. */
export interface KafkaConsumer {
  readonly topics: { trackAll(...topics: string[]): unknown };
  readonly assignments: KafkaAssignment[] | null;
  isActive(): boolean;
  joinGroup(options: Record<string, never>): Promise<string>;
  leaveGroup(): Promise<void>;
  close(): Promise<void>;
  metadata(options: { topics: string[] }): Promise<KafkaMetadata>;
  fetch(options: {
    node: number;
    maxWaitTime: number;
    minBytes: number;
    maxBytes: number;
    topics: {
      topicId: string;
      partitions: {
        partition: number;
        currentLeaderEpoch: number;
        fetchOffset: bigint;
        lastFetchedEpoch: number;
        partitionMaxBytes: number;
      }[];
    }[];
  }): Promise<{ responses: { topicId: string; partitions: KafkaFetchedPartition[] }[] }>;
  commit(options: { offsets: KafkaOffset[] }): Promise<void>;
  listOffsets(options: {
    topics: string[];
    partitions: Record<string, number[]>;
    timestamp: bigint;
  }): Promise<Map<string, bigint[]>>;
  listCommittedOffsets(options: { topics: KafkaAssignment[] }): Promise<Map<string, bigint[]>>;
  on(event: "consumer:group:join" | "consumer:rejoin", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/**
 * What a consumer is made with, beside its connection: spread it into the options of the client's
 * constructor, after your own.
 */
export interface KafkaConsumerSettings {
  groupId: string;
  autocommit: false;
  sessionTimeout: number;
  rebalanceTimeout: number;
  heartbeatInterval: number;
  protocols: { name: string; version: number }[];
  /** Asked before each (re)join: it is when partitions are let go of in peace. */
  protocolsMetadata: () => Promise<Buffer>;
}
