import { DureError } from "../core/errors.ts";
import type { KafkaAdmin } from "./clients.ts";
import { hasApiId } from "./kafka-error.ts";
import { topicBehind } from "./retry-topic.ts";

/** Topics that must be there, and how one that is not is made. */
export interface KafkaTopicOptions {
  /** Makes topics that are missing, when they are first used. @defaultValue true */
  readonly creates?: boolean;
  /** Partitions of a topic that is made; never changed later, because that would move keys. @defaultValue 12 */
  readonly partitions?: number;
  /** Copies of each. -1: as the broker's default says. @defaultValue -1 */
  readonly replicas?: number;
  /** Settings of a topic that is made, as Kafka names them. */
  readonly configs?: Readonly<Record<string, string>>;
  /** Verified at the start: these topics exist (or are made) with this many partitions. */
  readonly expected?: Readonly<Record<string, number>>;
}

/** What {@link KafkaTopics} is made of. */
export interface KafkaTopicsParts {
  readonly admin: KafkaAdmin;
  readonly options: KafkaTopicOptions;
  readonly retentionMs: number;
}

/** Sees to it that topics exist before they are used. Several may do so at a time, in many processes. */
export class KafkaTopics {
  readonly #parts: KafkaTopicsParts;
  readonly #known: Set<string> = new Set();

  constructor(parts: KafkaTopicsParts) {
    this.#parts = parts;
  }

  /** Something says that the topic is not there (any more): the next use looks again. */
  forget(topic: string): void {
    this.#known.delete(topic);
  }

  /** Resolves to those that are missing and may not be made. Rejects when the broker cannot be asked. */
  async ensure(topics: readonly string[]): Promise<readonly string[]> {
    const unknown = topics.filter((topic) => !this.#known.has(topic));
    if (unknown.length === 0) return [];
    const { admin, options } = this.#parts;
    const present = new Set(await admin.listTopics({}));
    const missing = unknown.filter((topic) => !present.has(topic));
    if (missing.length > 0 && options.creates !== false) {
      await this.#create(missing);
      missing.length = 0;
    }
    for (const topic of unknown) if (!missing.includes(topic)) this.#known.add(topic);
    return missing;
  }

  async #create(topics: readonly string[]): Promise<void> {
    const { admin, options, retentionMs } = this.#parts;
    const configs = { "retention.ms": String(retentionMs), ...options.configs };
    for (const topic of topics) {
      const partitions = this.#partitionsOf(topic);
      await admin
        .createTopics({
          topics: [{ topic, partitions, replicas: options.replicas ?? -1 }],
          configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
        })
        .catch((error: unknown) => {
          if (!hasApiId(error, "TOPIC_ALREADY_EXISTS")) throw error;
        });
    }
  }

  /** How long each of these topics that is there keeps messages: by the broker's word, Infinity for ever. */
  async retentionOf(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const { admin } = this.#parts;
    const present = new Set(await admin.listTopics({}));
    const there = topics.filter((topic) => present.has(topic));
    if (there.length === 0) return new Map();
    const found = await admin.describeConfigs({
      resources: there.map((resourceName) => ({
        resourceType: 2,
        resourceName,
        configurationKeys: ["retention.ms", "cleanup.policy"],
      })),
    });
    return new Map(
      found.map(({ resourceName, configs }) => {
        const of = (name: string) => configs.find((config) => config.name === name)?.value ?? "";
        const isDeleted = of("cleanup.policy").includes("delete");
        const ms = Number(of("retention.ms") || -1);
        return [resourceName, isDeleted && ms >= 0 ? ms : Infinity];
      }),
    );
  }

  /** A retry topic has as many as the topic that it belongs to. */
  #partitionsOf(topic: string): number {
    const { expected = {}, partitions = partitionsDefault } = this.#parts.options;
    return expected[topic] ?? expected[topicBehind(topic)] ?? partitions;
  }

  /** @throws CONFIGURATION_INVALID naming each expected topic that is missing or has other partitions */
  async verify(): Promise<void> {
    const { admin, options } = this.#parts;
    const expected = Object.entries(options.expected ?? {});
    const names = expected.map(([topic]) => topic);
    const missing = await this.ensure(names);
    const there = names.filter((topic) => !missing.includes(topic));
    const { topics } = await admin.metadata({ topics: there, forceUpdate: true });
    const problems = expected.flatMap(([topic, partitions]) => {
      if (missing.includes(topic)) return [`topic "${topic}" is missing`];
      const count = topics.get(topic)?.partitionsCount;
      if (count === partitions) return [];
      return [`topic "${topic}" has ${count} partitions, ${partitions} are expected`];
    });
    if (problems.length === 0) return;
    throw new DureError(
      "CONFIGURATION_INVALID",
      `kafkaTransport: ${problems.join("; ")}. Make the topics so, or change topics.expected: more partitions move keys to other partitions, which breaks their order`,
    );
  }
}

const partitionsDefault = 12;
