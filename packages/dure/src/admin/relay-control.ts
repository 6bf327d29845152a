import type { Clock } from "../core/clock.ts";
import { checkedActor, checkedReason, invalid } from "./actor.ts";
import type { Actor, ActorWithReason } from "./actor.ts";
import type { AdminStore } from "./admin-store.ts";
import type { RebasedShard, RelayResync, RelayStatus } from "./admin-store.ts";

/** What {@link RelayControl.drain} takes. */
export interface DrainOptions {
  /** Gives up after so many milliseconds; 0 looks once. @defaultValue 60000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Told what is left, about once a second. */
  readonly onProgress?: (status: RelayStatus) => void;
}

/**
 * How waiting for an empty outbox ended: `drained`: every committed event is published, or a dead letter, or
 * behind one (`parked` of them); `paused`: events wait and the relays are paused, so waiting would be in vain;
 * `timeout` and `aborted`: some were left.
 */
export interface DrainOutcome {
  readonly kind: "drained" | "paused" | "timeout" | "aborted";
  /** Not published; counted up to 20,000 per shard. */
  readonly pending: number;
  readonly retrying: number;
  readonly parked: number;
  /** Relays with a live lease: with none, nothing is published. */
  readonly relays: number;
}

/** The relays of one service's outbox, in whatever process they run: the operator's levers. */
export interface RelayControl {
  status(): Promise<RelayStatus>;
  /**
   * Lets no relay of this outbox publish any more, until {@link RelayControl.resume}: it is written down, so
   * restarts and new relays do not change it. Business goes on and events pile up unharmed. The relays are
   * told, and see it with their next look at the latest (`relay.pollMsMax`); what is being sent is finished.
   * They keep their shards.
   * Twice is once. Written to the audit log.
   * @returns whether they were not paused before
   */
  pause(by: ActorWithReason): Promise<boolean>;
  /**
   * Lets the relays publish again, and wakes them. Twice is once. Written to the audit log.
   * @returns whether they were paused
   */
  resume(by: Actor): Promise<boolean>;
  /** Waits until nothing is left to publish. Changes nothing: writers go on, so pause them first if it is to stay so. */
  drain(options?: DrainOptions): Promise<DrainOutcome>;
  /**
   * Mends the shards whose position sequence was set back (`OUTBOX_SEQUENCE_SET_BACK`), all of them or of
   * those named; leaves sound ones alone, so twice is once. Events that were hidden are sent, in the order of
   * their key; some that were sent just before may be sent again, with their ids. In one transaction with
   * the entry in the audit log: if the process dies, it is done or nothing is.
   * @returns the shards that were mended
   * @throws OUTBOX_BUSY when a writer's transaction stays open for 2 seconds: nothing was changed
   */
  rebase(
    by: ActorWithReason & { readonly shards?: readonly number[] },
  ): Promise<readonly RebasedShard[]>;
  /**
   * Publishes again what the outbox still keeps (`retention.outboxMs`), after a broker has lost what it had taken
   * (`BROKER_DATA_LOST`): of a topic, or of all, from the first event that was written at `since` (ISO 8601) or later. In
   * order per key, before anything newer; with the ids as they were, so that inboxes drop what they have. Writers
   * wait while it runs. In one transaction with the entry in the audit log: if the process dies, it is done or
   * nothing is. Twice sends twice, which harms nothing.
   * @returns the shards with events that are sent again
   * @throws OUTBOX_BUSY when a writer's transaction stays open for 2 seconds: nothing was changed
   * @throws CONFIGURATION_INVALID where events stand in the write-ahead log alone: there is nothing to publish again
   */
  republish(
    by: ActorWithReason & { readonly since: string; readonly topic?: string },
  ): Promise<readonly RebasedShard[]>;
  /**
   * After the replication slot was lost (`WAL_SLOT_LOST`): makes it anew, lets events be written into the log alone
   * again if they were, and says how many positions nobody can account for. Where events stand in the table none
   * is lost. Written to the audit log. If the process dies between, do it again.
   * @throws WAL_UNAVAILABLE
   */
  resync(by: ActorWithReason): Promise<RelayResync>;
}

const pollMsFirst = 20;
const pollMsMax = 1_000;
const timeoutMsMax = 86_400_000;

/** The levers over the given store. */
export function createRelayControl(store: AdminStore, clock: Clock): RelayControl {
  return {
    status: () => store.relayStatus(),
    pause: async (by) => store.pauseRelays(checkedReason(by, "the relays are paused")),
    resume: async (by) => store.resumeRelays(checkedActor(by)),
    drain: async (options) => drain(store, clock, options ?? {}),
    async rebase(by) {
      const { shards } = by;
      if (shards?.some((shard) => !Number.isInteger(shard) || shard < 0 || shard > 63) === true) {
        throw invalid("shards: each must be a whole number from 0 to 63");
      }
      return store.rebase(shards, checkedReason(by, "the shards are rebased"));
    },
    async republish(by) {
      const since = Date.parse(by.since);
      if (Number.isNaN(since)) throw invalid("since: must be a time in ISO 8601");
      const what = { topic: by.topic, since: new Date(since).toISOString() };
      return store.republish(what, checkedReason(by, "events are published again"));
    },
    resync: async (by) => store.resync(checkedReason(by, "the slot is made anew")),
  };
}

async function drain(
  store: AdminStore,
  clock: Clock,
  options: DrainOptions,
): Promise<DrainOutcome> {
  const { timeoutMs = 60_000, signal, onProgress } = options;
  if (!Number.isInteger(timeoutMs) || timeoutMs < 0 || timeoutMs > timeoutMsMax) {
    throw invalid(`timeoutMs: must be a whole number from 0 to ${timeoutMsMax}`);
  }
  const deadline = clock.monotonic() + timeoutMs;
  let pollMs = pollMsFirst;
  for (;;) {
    const status = await store.relayStatus();
    const { pending, retrying, parked, relays } = status;
    const ended = (kind: DrainOutcome["kind"]): DrainOutcome => {
      return { kind, pending, retrying, parked, relays };
    };
    if (pending + retrying === 0) return ended("drained");
    if (status.pause !== null) return ended("paused");
    if (signal?.aborted === true) return ended("aborted");
    const leftMs = deadline - clock.monotonic();
    if (leftMs <= 0) return ended("timeout");
    onProgress?.(status);
    await clock.sleep(Math.min(pollMs, leftMs), signal);
    pollMs = Math.min(pollMs * 2, pollMsMax);
  }
}
