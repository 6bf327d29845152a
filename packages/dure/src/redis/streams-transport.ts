import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { silentLogger } from "../core/logger.ts";
import type { Logger } from "../core/logger.ts";
import type { Transport } from "../core/transport.ts";
import { isRedisClient, redisCommand, redisEval, redisTimeoutMsDefault } from "./redis-client.ts";
import type { RedisClient } from "./redis-client.ts";
import { streamNames } from "./stream-names.ts";
import { listenForNews } from "./streams-doorbell.ts";
import { lag, register, trimByAge } from "./streams-lua.ts";
import { openStreams, StreamsPublisher } from "./streams-publisher.ts";
import { StreamsSubscription } from "./streams-subscription.ts";

/** What {@link redisStreamsTransport} takes. */
export interface RedisStreamsOptions {
  /** Connected. It may be shared with other work that does not block. */
  readonly client: RedisClient;
  /** Another connection, for nothing else: it waits in Redis for news. */
  readonly blockingClient: RedisClient;
  /** Keys begin with it, in braces. A new one is a new log. @defaultValue "dure" */
  readonly prefix?: string;
  /**
   * Streams per topic; as many members of a group can work at a time. The same everywhere, and for good: it
   * decides where a key's messages go. @defaultValue 16
   */
  readonly partitions?: number;
  /** After this long without a sign of life a member's partitions go to others. At least 500. @defaultValue 5000 */
  readonly leaseMs?: number;
  /** Messages that every group has handled are kept so long, in milliseconds. @defaultValue 1 hour */
  readonly retentionMs?: number;
  /**
   * Messages in one stream. At the limit what every group has handled goes, whatever its age; where a group is
   * behind, the topic takes nothing more and events wait in their outbox. @defaultValue 100000
   */
  readonly streamLengthMax?: number;
  /** Milliseconds after which a command's answer is not waited for any more. @defaultValue 3000 */
  readonly commandMsMax?: number;
  readonly logger?: Logger;
  readonly clock?: Clock;
}

/** How far a consumer group is behind on one topic of Redis Streams. */
export interface StreamsGroupLag {
  readonly group: string;
  readonly topic: string;
  readonly messages: number;
}

/** Redis Streams: a {@link Transport}, and what can be asked of it. */
export interface RedisStreams extends Transport {
  readonly retentionMs: number;
  /** Drops messages that are older than `retentionMs` and that no group needs. */
  maintain(signal?: AbortSignal): Promise<void>;
  /** Messages that each group has not acknowledged yet, as Redis counts them. */
  lag(): Promise<readonly StreamsGroupLag[]>;
}

const settings = {
  partitions: { default: 16, min: 1, max: 256 },
  leaseMs: { default: 5_000, min: 500, max: 600_000 },
  retentionMs: { default: 3_600_000, min: 0, max: 366 * 86_400_000 },
  streamLengthMax: { default: 100_000, min: 100, max: 100_000_000 },
  commandMsMax: { default: redisTimeoutMsDefault, min: 100, max: 600_000 },
} as const;

/** Looks of one maintenance at one stream. */
const trimsMax = 1_000;

/**
 * A transport on Redis Streams, Redis 7 or later: topics of several streams, consumer groups, one owner at a time
 * for each partition of a group.
 *
 * Delivers at least once, in order per key. What a publication gets into Redis is as durable as Redis is told to
 * be: with `appendfsync always` a crash loses nothing; with `everysec`, a failover, or without a file it may lose
 * what it had accepted. A publisher that sees that publishes nothing more until its outbox has sent again
 * (`BROKER_DATA_LOST`, `dure relay republish`). What a known group has not handled is never trimmed; a group that
 * is new finds what is still there. Neither client is closed.
 * @throws CONFIGURATION_INVALID naming every mistake
 */
export function redisStreamsTransport(options: RedisStreamsOptions): RedisStreams {
  const { client, blockingClient } = options;
  const checked = checkedSettings(options);
  const { retentionMs, commandMsMax } = checked;
  const clock = options.clock ?? systemClock;
  const logger = options.logger ?? silentLogger;
  const names = streamNames(options.prefix ?? "dure");
  const parts = { ...checked, client, names, clock, logger };
  const subscriptions = new Set<StreamsSubscription>();
  const stop = new AbortController();
  let listening: Promise<void> | undefined;
  const tell = (news: readonly number[]): void => {
    for (const subscription of subscriptions) subscription.wake(news);
  };
  const listen = (): Promise<void> =>
    listenForNews({ blockingClient, bell: names.bell, clock, onNews: tell }, stop.signal);
  const publisher = new StreamsPublisher({ ...parts, onPublished: tell });

  return {
    name: "redis",
    retentionMs,
    publish: (messages, publishing) => publisher.publish(messages, publishing),
    memory: publisher.memory,
    async check() {
      await checkServer(client, commandMsMax);
      await openStreams(parts);
    },
    async subscribe({ group, topics, from }) {
      const registerFrom = async (start: "0" | "$"): Promise<void> => {
        await openStreams(parts);
        const streams = topics.flatMap((topic) => streamsOf(topic, parts));
        const call = { keys: [names.topics, ...streams], args: [group, start, ...topics] };
        await redisEval(client, register, call, { timeoutMs: commandMsMax });
      };
      await registerFrom(from === "latest" ? "$" : "0");
      listening ??= listen();
      const subscription = new StreamsSubscription({
        ...parts,
        group,
        topics,
        registerAgain: () => registerFrom("0"),
        onClose: () => subscriptions.delete(subscription),
      });
      subscriptions.add(subscription);
      return subscription;
    },
    maintain: (signal) => trimStreams(parts, signal),
    lag: () => readLag(parts),
    async close() {
      stop.abort();
      await listening;
    },
  };
}

type Parts = ReturnType<typeof checkedSettings> & {
  readonly client: RedisClient;
  readonly names: ReturnType<typeof streamNames>;
};

function streamsOf(topic: string, { names, partitions }: Parts): readonly string[] {
  return Array.from({ length: partitions }, (_, partition) => names.stream(topic, partition));
}

async function topicsOf({ client, names, commandMsMax }: Parts): Promise<readonly string[]> {
  const command = ["SMEMBERS", names.topics] as const;
  const reply = await redisCommand(client, command, { timeoutMs: commandMsMax });
  // An array, or in RESP3 a set.
  return [...(reply as Iterable<unknown>)].map(String).sort();
}

async function trimStreams(parts: Parts, signal: AbortSignal | undefined): Promise<void> {
  const { client, retentionMs, commandMsMax } = parts;
  const streams = (await topicsOf(parts)).flatMap((topic) => streamsOf(topic, parts));
  for (const stream of streams) {
    for (let round = 0; round < trimsMax && signal?.aborted !== true; round += 1) {
      const call = { keys: [stream], args: [`${retentionMs}`] };
      const options = { timeoutMs: commandMsMax, signal };
      if ((await redisEval(client, trimByAge, call, options)) === 0) break;
    }
  }
}

async function readLag(parts: Parts): Promise<readonly StreamsGroupLag[]> {
  const { client, commandMsMax } = parts;
  const found: StreamsGroupLag[] = [];
  for (const topic of await topicsOf(parts)) {
    const call = { keys: streamsOf(topic, parts), args: [] };
    const reply = await redisEval(client, lag, call, { timeoutMs: commandMsMax });
    const flat = reply as readonly (string | number)[]; // group, messages, group, …
    for (let index = 0; index < flat.length; index += 2) {
      found.push({ group: String(flat[index]), topic, messages: Number(flat[index + 1]) });
    }
  }
  return found;
}

/** @throws CONFIGURATION_INVALID when Redis is too old, or may throw streams away when its memory is full */
async function checkServer(client: RedisClient, timeoutMs: number): Promise<void> {
  const info = String(await redisCommand(client, ["INFO"], { timeoutMs }));
  const read = (name: string): string => new RegExp(`^${name}:(.*)$`, "m").exec(info)?.[1] ?? "";
  const problems: string[] = [];
  const version = read("redis_version").trim();
  if (Number(version.split(".")[0]) < 7) problems.push(`Redis ${version} is too old: 7 at least`);
  const policy = read("maxmemory_policy").trim();
  if (policy.startsWith("allkeys")) {
    problems.push(`maxmemory-policy ${policy} may throw streams away: set noeviction`);
  }
  if (problems.length > 0) {
    throw new DureError("CONFIGURATION_INVALID", `redisStreamsTransport: ${problems.join("; ")}`);
  }
}

function checkedSettings(
  options: RedisStreamsOptions,
): Readonly<Record<keyof typeof settings, number>> {
  const problems: string[] = [];
  for (const name of ["client", "blockingClient"] as const) {
    if (!isRedisClient(options[name])) {
      problems.push(`${name}: must be a connected client of redis or ioredis`);
    }
  }
  if (options.client === options.blockingClient) {
    problems.push("blockingClient: must not be client: everything on it would wait");
  }
  if (options.prefix !== undefined && !/^[^{}\s]{1,100}$/.test(options.prefix)) {
    problems.push("prefix: must be 1 to 100 characters without braces and blanks");
  }
  const valueOf = (name: keyof typeof settings): number => {
    const { default: usual, min, max } = settings[name];
    const value = options[name] ?? usual;
    const isGood = Number.isInteger(value) && value >= min && value <= max;
    if (!isGood) problems.push(`${name}: must be a whole number from ${min} to ${max}`);
    return value;
  };
  const values = {
    partitions: valueOf("partitions"),
    leaseMs: valueOf("leaseMs"),
    retentionMs: valueOf("retentionMs"),
    streamLengthMax: valueOf("streamLengthMax"),
    commandMsMax: valueOf("commandMsMax"),
  };
  if (problems.length > 0) {
    throw new DureError("CONFIGURATION_INVALID", `redisStreamsTransport: ${problems.join("; ")}`);
  }
  return values;
}
