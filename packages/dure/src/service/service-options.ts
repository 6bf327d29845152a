import type { RetryPolicy } from "../core/backoff.ts";
import { defaultRetryPolicy } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { AnyEventDefinition } from "../core/event.ts";
import type { Faults } from "../core/faults.ts";
import type { Logger } from "../core/logger.ts";
import type { Transport } from "../core/transport.ts";
import type { ConsumerOptions, ConsumerSettings } from "../inbox/consumer.ts";
import type { LockStore } from "../lock/lock-store.ts";
import type { RelayOptions, RelaySettings } from "../outbox/relay.ts";
import type { FlowDefinition } from "../saga/flow-definition.ts";
import type { AnySagaDefinition } from "../saga/saga-definition.ts";
import type { SagaSettings } from "../saga/saga-engine.ts";
import type { SemaphoreSettings } from "../semaphore/semaphore-membership.ts";
import type { BacklogLimits } from "./backlog-watch.ts";
import type { ServiceStore } from "./service-store.ts";

/** What {@link createDure} takes. */
export interface DureOptions<Client = unknown> {
  /** The service's name: the source of its events and the default group of its handlers. */
  readonly service: string;
  readonly store: ServiceStore<Client>;
  /** Without one, events are written and wait, and nothing is received. */
  readonly transport?: Transport;
  /** `false`: this process writes events and publishes none; they wait for one that does. */
  readonly relay?: RelayOptions | false;
  readonly consumer?: ConsumerOptions;
  /**
   * For how long after it was given up a message may be redriven, in milliseconds: dedup records must outlive
   * it. @defaultValue 7 days
   */
  readonly redriveWindowMs?: number;
  /** When an event that is not published is warned of. */
  readonly backlog?: BacklogLimits;
  /** All events that the service knows. Given: a message of another type on a subscribed topic is a dead letter at once. */
  readonly contracts?: readonly AnyEventDefinition[];
  /** Where locks are kept, if not in the service's own database. */
  readonly locks?: {
    /** Such as `redisLockStore({ client })` of `dure/redis`. @defaultValue that of `store` */
    readonly store?: LockStore;
  };
  /** The sagas that this process drives, and the flows that it follows. */
  readonly sagas?: DrivenSagas;
  /** How this process keeps the permits of its semaphores. */
  readonly semaphores?: Partial<SemaphoreSettings>;
  readonly logger?: Logger;
  readonly clock?: Clock;
  readonly faults?: Faults;
}

/** What {@link DureOptions.sagas} takes. */
export interface DrivenSagas extends Partial<SagaSettings> {
  /** All versions that may still be under way: what no process knows stands still. */
  readonly definitions?: readonly AnySagaDefinition[];
  /** Choreographed flows to be followed from their events, in all versions that may still be under way. */
  readonly flows?: readonly FlowDefinition[];
  /** How often it is looked for flows that wait too long, in milliseconds. @defaultValue 1000 */
  readonly flowWatchMs?: number;
}

/** The options that are numbers, with the defaults filled in. */
export interface DureSettings {
  readonly relay: RelaySettings | undefined;
  readonly consumer: ConsumerSettings;
  readonly redriveWindowMs: number;
  readonly backlog: Required<BacklogLimits>;
  readonly sagas: SagaSettings;
  readonly flowWatchMs: number;
  readonly semaphores: SemaphoreSettings;
}

const knownOptions = [
  "service",
  "store",
  "transport",
  "relay",
  "consumer",
  "redriveWindowMs",
  "backlog",
  "contracts",
  "locks",
  "sagas",
  "semaphores",
  "logger",
  "clock",
  "faults",
];
const knownRelayOptions = [
  "batchSizeMax",
  "leaseMs",
  "pollMsMin",
  "pollMsMax",
  "publishMsMax",
  "retry",
  "whenPoisoned",
];
const dayMs = 86_400_000;
const knownConsumerOptions = ["batchSizeMax", "concurrency", "pollMsMin", "pollMsMax", "retry"];

/**
 * Fills in the defaults and checks everything.
 * @throws CONFIGURATION_INVALID naming every mistake at once
 */
export function readOptions(options: DureOptions): DureSettings {
  const problems: string[] = [];
  if (typeof options.service !== "string" || !/^[a-z0-9][a-z0-9._-]{0,63}$/.test(options.service)) {
    problems.push("service: must be 1 to 64 of a-z, 0-9, dot, dash and underscore");
  }
  if (typeof options.store !== "object" || options.store === null)
    problems.push('store: is missing; postgresStore({ pool }) of "dure/postgres" makes one');
  unknownKeys("", options, knownOptions, problems);
  unknownKeys("locks.", options.locks ?? {}, ["store"], problems);
  const relayOptions = options.relay === false ? {} : (options.relay ?? {});
  unknownKeys("relay.", relayOptions, knownRelayOptions, problems);
  const relay: RelaySettings = {
    batchSizeMax: 1_000,
    leaseMs: 5_000,
    pollMsMin: 5,
    pollMsMax: 1_000,
    publishMsMax: 30_000,
    whenPoisoned: "park-key",
    ...relayOptions,
    retry: { ...defaultRetryPolicy, ...relayOptions.retry },
  };
  if (!["park-key", "skip"].includes(relay.whenPoisoned)) {
    problems.push(`relay.whenPoisoned: must be "park-key" or "skip", got "${relay.whenPoisoned}"`);
  }
  range("relay.leaseMs", relay.leaseMs, 500, 3_600_000, problems);
  range("relay.publishMsMax", relay.publishMsMax, 100, 3_600_000, problems);
  range("relay.batchSizeMax", relay.batchSizeMax, 1, 10_000, problems);
  checkPolling("relay", relay, problems);
  const consumerOptions = options.consumer ?? {};
  unknownKeys("consumer.", consumerOptions, knownConsumerOptions, problems);
  const consumer: ConsumerSettings = {
    batchSizeMax: 100,
    concurrency: 4,
    pollMsMin: 5,
    pollMsMax: 1_000,
    ...consumerOptions,
    retry: { ...defaultRetryPolicy, ...consumerOptions.retry },
  };
  range("consumer.batchSizeMax", consumer.batchSizeMax, 1, 1_000, problems);
  range("consumer.concurrency", consumer.concurrency, 1, 256, problems);
  checkPolling("consumer", consumer, problems);
  const redriveWindowMs = options.redriveWindowMs ?? 7 * dayMs;
  range("redriveWindowMs", redriveWindowMs, 0, 3_650 * dayMs, problems);
  const backlog = readBacklogLimits(options.backlog, problems);
  const sagas = readSagaOptions(options.sagas, problems);
  const semaphores = readSemaphoreOptions(options.semaphores, problems);
  if (problems.length > 0) {
    throw new DureError("CONFIGURATION_INVALID", `createDure: ${problems.join("; ")}`);
  }
  return {
    relay: options.relay === false ? undefined : relay,
    consumer,
    redriveWindowMs,
    backlog,
    sagas,
    flowWatchMs: options.sagas?.flowWatchMs ?? 1_000,
    semaphores,
  };
}

function readBacklogLimits(
  given: BacklogLimits | undefined,
  problems: string[],
): Required<BacklogLimits> {
  const backlog = { warningMs: 300_000, alertMs: 3_600_000, ...given };
  unknownKeys("backlog.", backlog, ["warningMs", "alertMs"], problems);
  range("backlog.warningMs", backlog.warningMs, 1_000, 365 * dayMs, problems);
  range("backlog.alertMs", backlog.alertMs, backlog.warningMs, 365 * dayMs, problems);
  return backlog;
}

function readSagaOptions(options: DrivenSagas | undefined, problems: string[]): SagaSettings {
  const { definitions = [], flows = [], flowWatchMs = 1_000, ...given } = options ?? {};
  if (!Array.isArray(definitions)) problems.push("sagas.definitions: must be a list");
  if (!Array.isArray(flows)) problems.push("sagas.flows: must be a list");
  range("sagas.flowWatchMs", flowWatchMs, 5, 3_600_000, problems);
  unknownKeys("sagas.", given, ["concurrency", "leaseMs", "pollMs"], problems);
  const settings = { concurrency: 1_000, leaseMs: 10_000, pollMs: 250, ...given };
  range("sagas.concurrency", settings.concurrency, 1, 100_000, problems);
  range("sagas.leaseMs", settings.leaseMs, 1_000, 3_600_000, problems);
  range("sagas.pollMs", settings.pollMs, 5, 60_000, problems);
  return settings;
}

function readSemaphoreOptions(
  given: Partial<SemaphoreSettings> = {},
  problems: string[],
): SemaphoreSettings {
  unknownKeys("semaphores.", given, ["leaseMs", "pollMsMin", "pollMsMax"], problems);
  const settings = { leaseMs: 10_000, pollMsMin: 5, pollMsMax: 250, ...given };
  range("semaphores.leaseMs", settings.leaseMs, 500, 3_600_000, problems);
  range("semaphores.pollMsMin", settings.pollMsMin, 1, 60_000, problems);
  range("semaphores.pollMsMax", settings.pollMsMax, settings.pollMsMin, 60_000, problems);
  return settings;
}

function checkPolling(
  name: string,
  settings: { readonly pollMsMin: number; readonly pollMsMax: number; readonly retry: RetryPolicy },
  problems: string[],
): void {
  unknownKeys(`${name}.retry.`, settings.retry, Object.keys(defaultRetryPolicy), problems);
  range(`${name}.pollMsMin`, settings.pollMsMin, 1, 60_000, problems);
  range(`${name}.pollMsMax`, settings.pollMsMax, settings.pollMsMin, 60_000, problems);
  range(`${name}.retry.attempts`, settings.retry.attempts, 1, 1_000, problems);
  range(`${name}.retry.baseMs`, settings.retry.baseMs, 1, 86_400_000, problems);
  range(`${name}.retry.maxMs`, settings.retry.maxMs, settings.retry.baseMs, 86_400_000, problems);
}

function range(name: string, value: number, min: number, max: number, problems: string[]): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  problems.push(`${name}: must be a whole number from ${min} to ${max}, got ${String(value)}`);
}

function unknownKeys(
  prefix: string,
  given: object,
  known: readonly string[],
  problems: string[],
): void {
  for (const key of Object.keys(given)) {
    if (!known.includes(key))
      problems.push(`${prefix}${key}: is no option; there are ${known.join(", ")}`);
  }
}
