import { createWakeup } from "../core/abort.ts";
import type { Wakeup } from "../core/abort.ts";
import { createAlerts } from "../core/alerts.ts";
import type { Alerts } from "../core/alerts.ts";
import { backoffMs } from "../core/backoff.ts";
import type { RetryPolicy } from "../core/backoff.ts";
import { describeError, isDureError } from "../core/errors.ts";
import type { Message } from "../core/message.ts";
import type { Publisher, PublishOutcome } from "../core/transport.ts";
import { createTrouble } from "../core/trouble.ts";
import type { Trouble } from "../core/trouble.ts";
import type { ReadRequest, Settlement, ShardAdvance, StoredMessage } from "./outbox-store.ts";
import { publishWithin } from "./publish-within.ts";
import { RelayMemory } from "./relay-memory.ts";
import { RelayMembership } from "./relay-membership.ts";
import type { MembershipParts, OwnedShard } from "./relay-membership.ts";
import { RelayRecording } from "./relay-recording.ts";
import { RelaySending } from "./relay-sending.ts";

/** What a relay may be told; all of it has a default. */
export interface RelayOptions {
  /** Events of one shard that are published together. @defaultValue 1000 */
  readonly batchSizeMax?: number;
  /** After this long without a sign of life others take over. At least 500. @defaultValue 5000 */
  readonly leaseMs?: number;
  /** The shortest wait between looks when nobody says that there is news. @defaultValue 5 */
  readonly pollMsMin?: number;
  /** The longest wait between looks. @defaultValue 1000 */
  readonly pollMsMax?: number;
  /** How long a publication may take before its outcome counts as unknown and all of it is sent again. @defaultValue 30000 */
  readonly publishMsMax?: number;
  /** For an event that the transport refuses, and how often a topic that is out is asked. A transport that is down costs no attempts. */
  readonly retry?: Partial<RetryPolicy>;
  /** What a dead letter does to its key: the later events wait, or go on behind a tombstone in its place. @defaultValue "park-key" */
  readonly whenPoisoned?: "park-key" | "skip";
}

/** Relay options with the defaults filled in. */
export type RelaySettings = Required<Omit<RelayOptions, "retry">> & { readonly retry: RetryPolicy };

/** What the relay is made of. */
export interface RelayParts extends Omit<MembershipParts, "leaseMs"> {
  readonly publisher: Publisher;
  readonly settings: RelaySettings;
  /** Told after each publication, for the metrics. */
  readonly onPublished?: (count: number) => void;
}

/** Above this many open gaps a shard is read no further: something is wrong with its writers. */
const openGapsMax = 1_000;
/** The longest wait between looks while a position may still appear in a gap: its writer need not be one that wakes us. */
const gapPollMsMax = 50;

/** What one look has found, and of which shards. */
interface Look {
  readonly requests: readonly ReadRequest[];
  readonly found: readonly StoredMessage[];
}

/**
 * Publishes what stands in the outbox: at least once, in order per key, several relays at a time (each
 * shard belongs to one). No transaction is open while the transport is talked to.
 *
 * If the process dies after publishing and before recording it, the next owner publishes the same events
 * again, with the same ids, once the lease has run out. A relay that was frozen and thaws finds its lease
 * over, sends nothing more, and starts as a new member.
 */
export class Relay {
  readonly #parts: RelayParts;
  readonly #membership: RelayMembership;
  readonly #wakeup: Wakeup = createWakeup();
  readonly #leaseWakeup: Wakeup = createWakeup();
  readonly #sending: RelaySending;
  readonly #alerts: Alerts;
  readonly #recording: RelayRecording;
  #isAlone = false;
  /** As whom the present tick began. */
  #memberId = "";
  readonly #memory: RelayMemory | undefined;
  #incarnation: number | undefined;
  #isPaused = false;

  constructor(parts: RelayParts) {
    this.#parts = parts;
    this.#memory = parts.publisher.memory && new RelayMemory(parts.publisher.memory, parts);
    this.#alerts = createAlerts(parts.logger);
    this.#membership = new RelayMembership({ ...parts, leaseMs: parts.settings.leaseMs });
    this.#recording = new RelayRecording({
      clock: parts.clock,
      write: (advances, settlement) => this.#record(advances, settlement),
      onFailed: () => this.wake(),
    });
    this.#sending = new RelaySending({
      ...parts,
      retry: parts.settings.retry,
      skips: parts.settings.whenPoisoned === "skip",
      publish: (messages) => this.#publish(messages),
    });
  }

  /** There may be something to publish. */
  wake(): void {
    this.#wakeup.wake();
  }

  /** Whether this relay owns every shard, so that nobody else needs to be told of news. */
  get isAlone(): boolean {
    return this.#isAlone && this.#membership.isLeaseLive;
  }

  /** Publishes until the signal aborts; then hands its shards back and resolves. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#keepLease(signal), this.#pump(signal)]);
    await this.#recording.settled().catch((error: unknown) => {
      this.#warn("relay could not record its last progress: the next owner sends it again", error);
    });
    await this.#membership.leave().catch((error: unknown) => {
      this.#warn("relay could not hand back its shards: they are free when its lease ends", error);
    });
  }

  async #keepLease(signal: AbortSignal): Promise<void> {
    const { settings } = this.#parts;
    const trouble = this.#trouble(
      "relay cannot renew its lease and tries again",
      "relay renews its lease again",
    );
    let isFailing = false;
    while (!signal.aborted) {
      try {
        await this.#membership.heartbeat();
        isFailing = false;
        trouble.succeeded();
        this.wake();
      } catch (error) {
        isFailing = true;
        trouble.failed(error);
      }
      await this.#leaseWakeup.wait(settings.leaseMs / (isFailing ? 10 : 3), signal);
    }
  }

  async #pump(signal: AbortSignal): Promise<void> {
    const { clock, settings } = this.#parts;
    const trouble = this.#trouble(
      "relay could not publish and tries again",
      "relay publishes again",
    );
    let failures = 0;
    let pauseMs = settings.pollMsMin;
    let hasNews = false;
    while (!signal.aborted) {
      try {
        const { isBusy, isMore, hasGaps } = await this.#tick(hasNews);
        failures = 0;
        trouble.succeeded();
        const pauseMsMax = Math.min(
          settings.pollMsMax,
          hasGaps ? gapPollMsMax : Infinity,
          Math.max(settings.pollMsMin, this.#sending.idleMs),
        );
        pauseMs = isBusy ? settings.pollMsMin : Math.min(pauseMs * 2, pauseMsMax);
        hasNews = isMore;
        if (isMore) continue;
      } catch (error) {
        failures += 1;
        hasNews = false;
        // Whatever was in flight is unknown: go on from what was recorded, as a new owner would.
        this.#recording.forget();
        this.#membership.shards.clear();
        if (isDureError(error, "FENCED")) await this.#startAgain();
        if (!signal.aborted) trouble.failed(error);
        await clock.sleep(backoffMs(failures, { baseMs: 50, maxMs: 5_000 }, clock), signal);
        continue;
      }
      hasNews = (await this.#wakeup.wait(pauseMs, signal)) === "woken";
      if (hasNews) pauseMs = settings.pollMsMin;
    }
  }

  #trouble(message: string, messageOver: string): Trouble {
    const { clock, settings, logger, source } = this.#parts;
    return createTrouble({
      clock,
      settleMs: settings.leaseMs,
      say: (error) => this.#warn(message, error),
      sayOver: () => logger.info(messageOver, { source }),
    });
  }

  /** Comes back as a new member with higher epochs, and at once; unless the heartbeat has seen to that already. */
  async #startAgain(): Promise<void> {
    if (this.#membership.memberId !== this.#memberId) return;
    await this.#membership.leave().catch((error: unknown) => {
      this.#warn("relay could not hand back its shards: they are free when its lease ends", error);
    });
    this.#leaseWakeup.wake();
  }

  /**
   * One look at the outbox. Busy: look again soon; more: look again at once. `hasNews`: there is probably
   * something, so it is read at once.
   */
  async #tick(hasNews: boolean): Promise<{ isBusy: boolean; isMore: boolean; hasGaps: boolean }> {
    const idle = { isBusy: false, isMore: false, hasGaps: false };
    if (!this.#membership.isLeaseLive) return idle;
    this.#memberId = this.#membership.memberId;
    const { shards } = this.#membership;
    // What is let go of, or read again, must be recorded first.
    const isChanged = this.#membership.isChanged || this.#recording.hasFailed;
    if (isChanged) await this.#recording.settled();
    const hadGaps = [...shards.values()].some((owned) => owned.progress.hasGaps);
    const look = hasNews && !isChanged && !hadGaps ? await this.#lookAtOnce() : await this.#look();
    if (look === undefined) return idle;
    const { requests, found } = look;
    const due = await this.#sending.due([...shards.keys()]);
    const settlement = await this.#sending.send(found, due);
    const { advances, isMore } = this.#progress(requests, found);
    const { parked, resolved, failed } = settlement;
    const isTouched = parked.length + resolved.length + failed.length > 0;
    // What is parked counts as done: the two are recorded in one transaction, or an event would be lost between
    // them. And a backlog does not run further ahead of what is recorded than by one look.
    if (isTouched || isMore) await this.#recording.begin(advances, settlement);
    else this.#recording.add(advances);
    // The next look must not find again what this one has settled.
    if (isTouched) await this.#recording.settled();
    const hasGaps = [...shards.values()].some((owned) => owned.progress.hasGaps);
    return { isBusy: found.length > 0, isMore: isMore || resolved.length > 0, hasGaps };
  }

  async #record(advances: readonly ShardAdvance[], settlement: Settlement): Promise<void> {
    const { outbox, source, faults } = this.#parts;
    const member = { id: this.#memberId, source, shards: this.#epochs() };
    // Before the progress: what is recorded as published then has a mark, wherever the process dies.
    await this.#memory?.keep(this.#incarnation ?? 1);
    this.#membership.drop(await outbox.advance(member, advances, settlement));
    await faults.hit("relay.after-advance");
  }

  /** The positions first, and then what they say is there. Undefined: the relay rests. */
  async #look(): Promise<Look | undefined> {
    const { outbox, settings } = this.#parts;
    const { last, incarnation, isPaused } = await outbox.positions();
    // Before the cursors are read: after a rebase that comes between, they are read once too often.
    if (this.#incarnation !== incarnation) {
      await this.#memory?.restore(incarnation);
      this.#recording.forget();
      this.#membership.shards.clear();
    }
    this.#incarnation = incarnation;
    if (await this.#membership.adopt()) this.#sending.forget();
    this.#isAlone = this.#membership.shards.size === last.length;
    if (this.#rests(isPaused)) return undefined;
    const requests = await this.#readRequests(last);
    const found = requests.length === 0 ? [] : await outbox.read(requests, settings.batchSizeMax);
    return { requests, found };
  }

  /**
   * The same side by side, where no gap is open and nothing has changed: then the order of the two does not
   * matter. What the positions speak against is not sent.
   */
  async #lookAtOnce(): Promise<Look | undefined> {
    const { outbox, settings } = this.#parts;
    const { shards } = this.#membership;
    const asked = [...shards].map(([shard, { progress }]) => ({
      shard,
      gaps: [],
      head: progress.head,
    }));
    const [{ last, incarnation, isPaused }, read] = await Promise.all([
      outbox.positions(),
      outbox.read(asked, settings.batchSizeMax),
    ]);
    if (this.#incarnation !== incarnation) return this.#look();
    if (this.#rests(isPaused)) return undefined;
    const isSound = ({ shard }: { readonly shard: number }): boolean => {
      const owned = shards.get(shard);
      return owned !== undefined && this.#isSequenceSound(shard, last[shard] ?? 0, owned);
    };
    const requests = asked.filter(isSound);
    const sound = new Set(requests.map(({ shard }) => shard));
    return { requests, found: read.filter(({ shard }) => sound.has(shard)) };
  }

  #epochs(): readonly { readonly shard: number; readonly epoch: number }[] {
    return [...this.#membership.shards].map(([shard, { epoch }]) => ({ shard, epoch }));
  }

  /** Paused by an operator: the shards are kept, nothing is sent. Said at each change. */
  #rests(isPaused: boolean): boolean {
    if (this.#isPaused !== isPaused) {
      const { logger, source } = this.#parts;
      const message = isPaused ? "relay is paused by an operator" : "relay is resumed";
      logger.info(message, { source });
    }
    this.#isPaused = isPaused;
    return isPaused;
  }

  async #readRequests(last: readonly number[]): Promise<readonly ReadRequest[]> {
    const { shards } = this.#membership;
    const withGaps = [...shards].filter(([, owned]) => owned.progress.hasGaps);
    if (withGaps.length > 0) {
      // After the positions and before the read, in a statement of its own: see ShardProgress.observe.
      const writers = await this.#parts.outbox.writers(withGaps.map(([shard]) => shard));
      for (const [shard, owned] of withGaps) {
        owned.progress.observe(last[shard] ?? 0, writers.get(shard) ?? new Set());
      }
    }
    const requests: ReadRequest[] = [];
    for (const [shard, owned] of shards) {
      const { progress } = owned;
      const lastPosition = last[shard] ?? 0;
      if (!this.#isSequenceSound(shard, lastPosition, owned)) continue;
      const gaps = progress.gaps();
      if (gaps.length === 0 && lastPosition <= progress.head) continue;
      const isFull = gaps.length > openGapsMax;
      const facts = { source: this.#parts.source, shard, gaps: gaps.length };
      const message = "relay reads a shard no further: too many open gaps";
      this.#alerts.errorWhile(isFull, message, facts, shard);
      requests.push({ shard, gaps, head: isFull ? Number.MAX_SAFE_INTEGER : progress.head });
    }
    return requests;
  }

  /**
   * A sequence that was set back hides new events among published positions: better to stop and say so. For good,
   * until a rebase: soon it has run past what is published, and what it hid meanwhile stays hidden.
   */
  #isSequenceSound(shard: number, last: number, owned: OwnedShard): boolean {
    const { head } = owned.progress;
    owned.isSetBack ||= last < head;
    // Behind what was seen of it: begin again from what is recorded, which looks for the traces of a set-back. (It
    // may be harmless: after a crash of the server, positions that were drawn and not committed are drawn again.)
    if (last < owned.last) this.#membership.shards.delete(shard);
    owned.last = last;
    this.#alerts.errorWhile(
      owned.isSetBack,
      'OUTBOX_SEQUENCE_SET_BACK: a shard\'s position sequence was set back. The shard is stopped, the others go on; "dure relay rebase" mends it and loses nothing',
      { source: this.#parts.source, shard, last, head },
      shard,
    );
    return !owned.isSetBack && this.#membership.shards.has(shard);
  }

  async #publish(messages: readonly Message[]): Promise<readonly PublishOutcome[]> {
    const { publisher, faults, source, settings } = this.#parts;
    await faults.hit("relay.before-publish");
    this.#membership.assertLease(this.#memberId);
    const fences = this.#epochs().map((epoch) => ({ source, ...epoch }));
    const outcomes = await publishWithin(publisher, messages, fences, settings.publishMsMax);
    await faults.hit("relay.after-publish");
    this.#parts.onPublished?.(outcomes.filter((outcome) => outcome.kind === "accepted").length);
    return outcomes;
  }

  /** What the tick did to each shard's positions: everything that was read is published or parked. */
  #progress(
    requests: readonly ReadRequest[],
    found: readonly StoredMessage[],
  ): { advances: readonly ShardAdvance[]; isMore: boolean } {
    const positions = Map.groupBy(found, (stored) => stored.shard);
    const advances: ShardAdvance[] = [];
    let isMore = false;
    for (const { shard } of requests) {
      const owned = this.#membership.shards.get(shard);
      if (owned === undefined) continue;
      const read = (positions.get(shard) ?? []).map((stored) => stored.position);
      const isCut = read.length >= this.#parts.settings.batchSizeMax;
      isMore ||= isCut;
      const { low, gapCount } = owned.progress;
      owned.progress.complete(read);
      owned.progress.closeGaps(isCut ? read.at(-1) : undefined);
      const isMoved =
        read.length > 0 || owned.progress.low !== low || owned.progress.gapCount !== gapCount;
      if (!isMoved) continue;
      owned.n += 1;
      advances.push({
        shard,
        n: owned.n,
        low: owned.progress.low,
        done: owned.progress.done,
      });
    }
    return { advances, isMore };
  }

  #warn(message: string, error: unknown): void {
    this.#parts.logger.warn(message, { source: this.#parts.source, error: describeError(error) });
  }
}
