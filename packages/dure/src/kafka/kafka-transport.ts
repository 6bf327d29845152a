import { settledWithin } from "../core/abort.ts";
import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { silentLogger } from "../core/logger.ts";
import type { Logger } from "../core/logger.ts";
import type { DeadLetterNotice, LaterAttempt, RetryTopics, Transport } from "../core/transport.ts";
import type {
  KafkaAdmin,
  KafkaCompression,
  KafkaConsumer,
  KafkaConsumerSettings,
  KafkaProducer,
  KafkaRecordToSend,
} from "./clients.ts";
import { deadLetterRecord } from "./dead-letter-topic.ts";
import type { RecordPlaces } from "./dead-letter-topic.ts";
import { explain, hasApiId } from "./kafka-error.ts";
import type { KafkaGroupOptions } from "./kafka-group.ts";
import { KafkaPublisher } from "./kafka-publisher.ts";
import type { FetchLimits } from "./kafka-reading.ts";
import { KafkaSubscription } from "./kafka-subscription.ts";
import { KafkaTopics } from "./kafka-topics.ts";
import type { KafkaTopicOptions } from "./kafka-topics.ts";
import { retryRecord, retryTopicsOf } from "./retry-topic.ts";

/** What {@link kafkaTransport} takes. */
export interface KafkaTransportOptions {
  /** For publications, and for nothing else. Yours to close. */
  readonly producer: KafkaProducer;
  /** Looks topics up and makes them. Yours to close. */
  readonly admin: KafkaAdmin;
  /**
   * Makes a client for a consumer group: `(settings) => new Consumer({ ...connection, ...settings })`. Two for
   * each group that the service handles; the transport closes them.
   */
  readonly createConsumer: (settings: KafkaConsumerSettings) => KafkaConsumer;
  readonly topics?: KafkaTopicOptions;
  /** @defaultValue "zstd" */
  readonly compression?: KafkaCompression;
  /** What a request may hold, in bytes before compression; a bigger message goes alone. @defaultValue 524288 */
  readonly requestBytesMax?: number;
  /** Leaves a copy of each dead letter in `<topic>-dlt`, with the headers that Spring gives them. @defaultValue true */
  readonly deadLetterTopics?: boolean;
  /**
   * How long a message waits in `<topic>-retry-0`, `-1`, … after its first, second, … failure, in milliseconds,
   * for handlers with `retry: "topics"`; after the last it goes to `<topic>-dlt`. The same for all groups of a topic.
   * @defaultValue [1000, 10000, 60000, 600000]
   */
  readonly retryDelaysMs?: readonly number[];
  /** How long topics that are made here keep messages, and how long a message may come again. @defaultValue 7 days */
  readonly retentionMs?: number;
  readonly group?: KafkaGroupOptions;
  readonly fetch?: KafkaFetchOptions;
  readonly logger?: Logger;
  readonly clock?: Clock;
}

/** How messages are read ahead; all of it has a default. */
export interface KafkaFetchOptions {
  /** Messages of one partition that wait here at most, about; then it is paused. @defaultValue 500 */
  readonly bufferedMax?: number;
  /** The broker answers when it has so much, or after `waitMs`. @defaultValue 1 */
  readonly bytesMin?: number;
  /** @defaultValue 250 */
  readonly waitMs?: number;
  /** What an answer holds of one partition, at most, about. @defaultValue 1048576 */
  readonly partitionBytesMax?: number;
}

/** How far this process's members are behind on a topic. */
export interface KafkaLag {
  readonly group: string;
  readonly topic: string;
  readonly messages: number;
}

/** A {@link Transport} on Kafka, and what can be asked of it. */
export interface KafkaTransport extends Transport {
  readonly retentionMs: number;
  /** Messages that are not acknowledged, in the partitions of this process's members, as of the last answer. */
  lag(): readonly KafkaLag[];
}

const dayMs = 86_400_000;

/**
 * A transport on Apache Kafka, by clients that you make (`@platformatic/kafka` 2.12 fits as it is).
 *
 * Delivers at least once, in order per (source, topic, key): a key has one partition, by the hash of Kafka's
 * own clients; publications are idempotent, acknowledged by all replicas, one request at a time. Offsets
 * follow effects. It has no fences: what a relay that lost its shard still sends is a copy, which the inbox
 * drops by its id. A topic that cannot take messages does not stop the others.
 * @throws CONFIGURATION_INVALID
 */
export function kafkaTransport(options: KafkaTransportOptions): KafkaTransport {
  checkOptions(options);
  const { logger = silentLogger, clock = systemClock, retentionMs = 7 * dayMs } = options;
  const { retryDelaysMs: delaysMs = [1_000, 10_000, 60_000, 600_000] } = options;
  const { admin, producer, compression = "zstd", requestBytesMax = 524_288 } = options;
  const topics = new KafkaTopics({ admin, options: options.topics ?? {}, retentionMs });
  const publisher = new KafkaPublisher({ producer, topics, compression, requestBytesMax });
  const places: RecordPlaces = new WeakMap();
  const members = new Map<KafkaSubscription, string>();
  return {
    name: "kafka",
    retentionMs,
    retentionOf: (names) => longestRetention(topics, names, { retentionMs, logger }),
    check: () => topics.verify().catch(rethrowUnavailable),
    publish: (messages, { signal }) =>
      messages.length === 0 ? Promise.resolve([]) : publisher.publish(messages, signal),
    async subscribe({ group, topics: own, from, retried: retriedTopics = [] }) {
      const retried = topicsByRetryTopic(retriedTopics, delaysMs);
      const names = [...own, ...retried.keys()];
      const missing = await topics.ensure(names).catch(rethrowUnavailable);
      if (missing.length > 0) throw topicsMissing(group, missing);
      const subscription = new KafkaSubscription({
        group,
        topics: names,
        retried,
        from,
        settings: groupSettings(options.group),
        limits: fetchLimits(options.fetch),
        places,
        bufferedMax: options.fetch?.bufferedMax ?? 500,
        createConsumer: options.createConsumer,
        logger,
        clock,
        onClose: () => void members.delete(subscription),
      });
      await subscription.start().catch(rethrowUnavailable);
      members.set(subscription, group);
      return subscription;
    },
    ...(options.deadLetterTopics !== false && {
      leaveDeadLetter: (notice: DeadLetterNotice) =>
        leaveDeadLetter(publisher, notice, { logger, places }),
    }),
    retryTopics: retryTopicsOn(publisher, { delaysMs, places, clock }),
    lag: () =>
      [...members].flatMap(([member, group]) =>
        [...member.lag()].map(([topic, messages]) => ({ group, topic, messages })),
      ),
    async close() {
      await Promise.all([...members.keys()].map((member) => member.close()));
      await settledWithin(publisher.settled(), 5_000);
    },
  };
}

/** What keeps messages for ever is told of and not counted: no dedup record could outlive it. */
async function longestRetention(
  topics: KafkaTopics,
  names: readonly string[],
  { retentionMs, logger }: { readonly retentionMs: number; readonly logger: Logger },
): Promise<number> {
  const found = await topics.retentionOf(names).catch((error: unknown) => {
    if (!hasApiId(error, "TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED")) {
      return rethrowUnavailable(error);
    }
    logger.warn("how long topics keep messages may not be read; retentionMs is taken", {
      retentionMs,
    });
    return new Map<string, number>();
  });
  const endless = [...found].filter(([, ms]) => ms === Infinity).map(([topic]) => topic);
  if (endless.length > 0) {
    logger.warn(
      "topics keep messages for ever: what is read anew after dedup records are gone (retention.inboxMs) is handled again",
      { topics: endless.join(", ") },
    );
  }
  return Math.max(retentionMs, ...[...found.values()].filter((ms) => ms !== Infinity));
}

/** None where there is no delay. */
function retryTopicsOn(
  publisher: KafkaPublisher,
  parts: {
    readonly delaysMs: readonly number[];
    readonly places: RecordPlaces;
    readonly clock: Clock;
  },
): RetryTopics | undefined {
  const { delaysMs, places, clock } = parts;
  if (delaysMs.length === 0) return undefined;
  return {
    delaysMs,
    send: (attempt: LaterAttempt) =>
      sendToRetry(publisher, retryRecord(attempt, { delaysMs, places, now: clock.now() })),
  };
}

function topicsByRetryTopic(
  topics: readonly string[],
  delaysMs: readonly number[],
): ReadonlyMap<string, string> {
  return new Map(
    topics.flatMap((topic) =>
      retryTopicsOf(topic, delaysMs).map((retryTopic) => [retryTopic, topic] as const),
    ),
  );
}

/** It is not done before it is there: what Kafka refuses for good is refused until somebody mends that, and said. */
async function sendToRetry(publisher: KafkaPublisher, record: KafkaRecordToSend): Promise<void> {
  const problem = await publisher.send(record, AbortSignal.timeout(sendMsMax));
  if (problem === undefined) return;
  throw new DureError(
    "BROKER_UNAVAILABLE",
    `a failed message could not be put into "${record.topic}": ${problem}. Its partition waits until it can`,
  );
}

const sendMsMax = 30_000;

async function leaveDeadLetter(
  publisher: KafkaPublisher,
  notice: DeadLetterNotice,
  { logger, places }: { readonly logger: Logger; readonly places: RecordPlaces },
): Promise<void> {
  const problem = await publisher.send(
    deadLetterRecord(notice, places),
    AbortSignal.timeout(sendMsMax),
  );
  if (problem === undefined) return;
  const facts = { group: notice.group, messageId: notice.message.id, problem };
  logger.error("a dead letter has no copy in Kafka; it is in the service's own table", facts);
}

function groupSettings(options: KafkaGroupOptions = {}): Required<KafkaGroupOptions> {
  return {
    sessionMs: 10_000,
    heartbeatMs: 1_000,
    rebalanceMs: 30_000,
    handOverMs: 5_000,
    ...options,
  };
}

function fetchLimits(options: KafkaFetchOptions = {}): FetchLimits {
  const { waitMs = 250, bytesMin = 1, partitionBytesMax = 1_048_576 } = options;
  return { waitMs, bytesMin, partitionBytesMax, bytesMax: 16 * 1_048_576 };
}

/** @throws CONFIGURATION_INVALID naming all that is wrong */
function checkOptions(options: KafkaTransportOptions): void {
  const { sessionMs, heartbeatMs, rebalanceMs, handOverMs } = groupSettings(options.group);
  const problems: string[] = [];
  const atLeast = (name: string, value: number | undefined, least: number): void => {
    if (value === undefined || (Number.isFinite(value) && value >= least)) return;
    problems.push(`${name} must be at least ${least}, it is ${value}`);
  };
  atLeast("requestBytesMax", options.requestBytesMax, 1);
  atLeast("retentionMs", options.retentionMs, 60_000);
  for (const delayMs of options.retryDelaysMs ?? []) atLeast("retryDelaysMs", delayMs, 1);
  if ((options.retryDelaysMs?.length ?? 0) > 20) problems.push("retryDelaysMs must be 20 at most");
  atLeast("topics.partitions", options.topics?.partitions, 1);
  atLeast("fetch.bufferedMax", options.fetch?.bufferedMax, 1);
  atLeast("fetch.waitMs", options.fetch?.waitMs, 1);
  atLeast("group.heartbeatMs", heartbeatMs, 50);
  atLeast("group.sessionMs", sessionMs, 3 * heartbeatMs);
  atLeast("group.rebalanceMs", rebalanceMs, sessionMs);
  atLeast("group.handOverMs", handOverMs, 0);
  if (handOverMs >= sessionMs) {
    problems.push(
      `group.handOverMs must be less than group.sessionMs (${sessionMs}), it is ${handOverMs}`,
    );
  }
  if (problems.length === 0) return;
  throw new DureError("CONFIGURATION_INVALID", `kafkaTransport: ${problems.join("; ")}`);
}

function topicsMissing(group: string, topics: readonly string[]): DureError {
  return new DureError(
    "CONFIGURATION_INVALID",
    `kafkaTransport: group "${group}" reads topics that do not exist, and topics.creates is off: ${topics.join(", ")}. Make them`,
  );
}

function rethrowUnavailable(error: unknown): never {
  if (error instanceof DureError) throw error;
  throw new DureError("BROKER_UNAVAILABLE", `Kafka does not answer: ${explain(error)}`, {
    cause: error,
  });
}
