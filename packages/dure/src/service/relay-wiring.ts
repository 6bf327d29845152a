import type { Clock } from "../core/clock.ts";
import type { Faults } from "../core/faults.ts";
import type { Logger } from "../core/logger.ts";
import type { Transport } from "../core/transport.ts";
import type { OutboxStore } from "../outbox/outbox-store.ts";
import { Relay } from "../outbox/relay.ts";
import type { RelaySettings } from "../outbox/relay.ts";
import type { ServiceStore } from "./service-store.ts";

/** What the relay of one service is made of. */
export interface RelayWiring {
  readonly source: string;
  readonly store: Pick<ServiceStore, "outbox" | "feed" | "news">;
  readonly publisher: Transport;
  readonly settings: RelaySettings;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly faults: Faults;
  readonly onPublished: (count: number) => void;
}

/** A relay at work. */
export interface RunningRelay {
  /** The one that looks for events, and is told of news; none where a feed brings them. */
  readonly relay: Relay | undefined;
  /** Resolves when it has stopped. Never rejects. */
  readonly done: Promise<void>;
}

/** Relays until the signal aborts: by looking into the outbox, or what the store's feed brings. */
export function startRelay(wiring: RelayWiring, signal: AbortSignal): RunningRelay {
  const { store, source, clock, logger, settings } = wiring;
  const create = (outbox: OutboxStore): Relay => new Relay({ ...wiring, outbox });
  if (store.feed !== undefined) {
    const relay = (outbox: OutboxStore, owned: AbortSignal) => {
      const fed = create(outbox);
      return { wake: () => fed.wake(), done: fed.run(owned) };
    };
    const done = store.feed.run(
      { source, clock, logger, leaseMs: settings.leaseMs, relay },
      signal,
    );
    return { relay: undefined, done };
  }
  const relay = create(store.outbox);
  const stopListening = store.news.listen(() => relay.wake());
  return { relay, done: relay.run(signal).finally(stopListening) };
}
