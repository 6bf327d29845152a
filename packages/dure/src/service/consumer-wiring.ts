import type { Clock } from "../core/clock.ts";
import { isDureError } from "../core/errors.ts";
import type { AnyEventDefinition } from "../core/event.ts";
import type { Faults } from "../core/faults.ts";
import type { Logger } from "../core/logger.ts";
import type { Transport } from "../core/transport.ts";
import { Consumer } from "../inbox/consumer.ts";
import type { ConsumerSettings } from "../inbox/consumer.ts";
import { copiesOn } from "../inbox/dead-letter-copy.ts";
import { Inbox } from "../inbox/inbox.ts";
import type { RunTransaction, Subscriber } from "../inbox/inbox.ts";
import type { ServiceStore } from "./service-store.ts";

/** The handlers of one consumer group. */
export interface Group {
  readonly name: string;
  readonly subscribers: Subscriber[];
  from: "earliest" | "latest";
  inbox?: Inbox;
}

/** What the consumers of one service have in common. */
export interface ConsumerWiring {
  readonly store: Pick<ServiceStore, "inbox" | "parking">;
  readonly transport: Transport;
  readonly contracts: readonly AnyEventDefinition[] | undefined;
  readonly settings: ConsumerSettings;
  readonly transaction: RunTransaction;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly faults: Faults;
}

/** Handles what comes for the group until the signal aborts. Never rejects. */
export function startConsumer(
  group: Group,
  wiring: ConsumerWiring,
  signal: AbortSignal,
): Promise<void> {
  const { store, transport, contracts, settings, transaction, clock, logger, faults } = wiring;
  const { name, subscribers, from } = group;
  const inbox = new Inbox({
    group: name,
    subscribers,
    knownTypes: contracts && new Set(contracts.map((definition) => definition.type)),
    store: store.inbox,
    parking: store.parking,
    transaction,
    isUnavailable: (error) =>
      isDureError(error, "DATABASE_UNAVAILABLE") || isDureError(error, "COMMIT_IN_DOUBT"),
    retry: settings.retry,
    copies: copiesOn(transport, logger),
    retryTopics: transport.retryTopics,
    clock,
    faults,
  });
  group.inbox = inbox;
  const topics = topicsOf(subscribers);
  const retried = topicsOf(subscribers.filter(({ retry }) => retry === "topics"));
  const consumer = new Consumer({
    group: name,
    inbox,
    subscribe: () => transport.subscribe({ group: name, topics, from, retried }),
    settings,
    clock,
    logger,
    faults,
  });
  return consumer.run(signal);
}

/** The topics that these handlers read, each once. */
export function topicsOf(subscribers: readonly Subscriber[]): readonly string[] {
  return [...new Set(subscribers.map((subscriber) => subscriber.definition.topic))];
}
