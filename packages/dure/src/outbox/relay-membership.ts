import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { Faults } from "../core/faults.ts";
import { newId } from "../core/id.ts";
import type { Logger } from "../core/logger.ts";
import type { OutboxStore, ShardClaim } from "./outbox-store.ts";
import { ShardProgress } from "./shard-progress.ts";

/** A shard that this relay owns, as far as it knows. */
export interface OwnedShard {
  readonly epoch: number;
  readonly progress: ShardProgress;
  /** Counts this shard's cursor records. */
  n: number;
  /** The last position drawn when it was looked at last: it only grows. */
  last: number;
  /** Its sequence was set back: nothing of it is read until a rebase, whatever the sequence says later. */
  isSetBack: boolean;
}

/** What a membership is made of. */
export interface MembershipParts {
  readonly source: string;
  readonly outbox: OutboxStore;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly faults: Faults;
}

/**
 * A relay's place among the relays of its service: its lease, and the shards that come with it.
 * `heartbeat` may run at any time; what it learns takes effect in `adopt`, when nothing is in flight.
 */
export class RelayMembership {
  readonly shards: Map<number, OwnedShard> = new Map();
  readonly #parts: MembershipParts;
  #memberId = "";
  /** The id that is joining: kept until it is in, so that a lost answer leaves no second member behind. */
  #joiningId = "";
  /** Counts what we were: an answer to a former self is not heard. */
  #life = 0;
  #claims: readonly ShardClaim[] = [];
  #leaseUntil = -Infinity;

  constructor(parts: MembershipParts) {
    this.#parts = parts;
  }

  get memberId(): string {
    return this.#memberId;
  }

  /** By the local clock, counted from before the last renewal was asked for: never later than the database's view. */
  get isLeaseLive(): boolean {
    return this.#memberId !== "" && this.#parts.clock.monotonic() < this.#leaseUntil;
  }

  /**
   * @throws FENCED when the lease is over, or is not the one under which the tick began: the last look
   * before anything is sent or recorded
   */
  assertLease(memberId: string): void {
    if (this.isLeaseLive && this.#memberId === memberId) return;
    throw new DureError(
      "FENCED",
      `the relay of "${this.#parts.source}" has lost its lease: nothing was sent, the next owner goes on`,
    );
  }

  /** Whether {@link RelayMembership.adopt} has anything to do. */
  get isChanged(): boolean {
    return (
      this.#claims.length !== this.shards.size ||
      this.#claims.some(
        ({ shard, epoch, isSurplus }) => isSurplus || this.shards.get(shard)?.epoch !== epoch,
      )
    );
  }

  async heartbeat(): Promise<void> {
    if (await this.#renew()) return;
    const { logger, source } = this.#parts;
    logger.warn("relay lost its lease and starts again as a new member", { source });
    this.forget();
    await this.#renew();
  }

  /** Resolves to whether we are a member. */
  async #renew(): Promise<boolean> {
    const { clock, outbox, leaseMs } = this.#parts;
    const isJoining = this.#memberId === "";
    if (isJoining && this.#joiningId === "") this.#joiningId = newId(clock);
    const id = isJoining ? this.#joiningId : this.#memberId;
    const life = this.#life;
    const requestedAt = clock.monotonic();
    const claims = await outbox.heartbeat({ id, leaseMs, isJoining });
    if (life !== this.#life) return true;
    if (claims === undefined) return false;
    this.#memberId = id;
    this.#joiningId = "";
    this.#claims = claims;
    this.#leaseUntil = requestedAt + leaseMs;
    return true;
  }

  /** Brings the shards in line with the last heartbeat. Resolves to whether any were added. */
  async adopt(): Promise<boolean> {
    await this.#releaseSurplus();
    const kept = new Map(this.#claims.map((claim) => [claim.shard, claim.epoch]));
    for (const [shard, owned] of this.shards) {
      if (kept.get(shard) !== owned.epoch) this.shards.delete(shard);
    }
    const added = this.#claims.filter((claim) => !this.shards.has(claim.shard));
    if (added.length === 0) return false;
    await this.#parts.faults.hit("relay.after-take-over");
    // Only now, after the take-over has committed: what the former owner recorded last is visible.
    const cursors = await this.#parts.outbox.cursors(added.map((claim) => claim.shard));
    for (const { shard, epoch } of added) {
      const cursor = cursors.find((candidate) => candidate.shard === shard);
      const progress = new ShardProgress(cursor ?? { low: 0, done: [] });
      this.shards.set(shard, {
        epoch,
        progress,
        n: cursor?.n ?? 0,
        last: 0,
        isSetBack: cursor?.isSetBack ?? false,
      });
    }
    return true;
  }

  async #releaseSurplus(): Promise<void> {
    const surplus = this.#claims.filter((claim) => claim.isSurplus).map((claim) => claim.shard);
    if (surplus.length === 0) return;
    const member = { id: this.#memberId, shards: surplus, isLeaving: false };
    await this.#parts.outbox.release(member);
    this.#claims = this.#claims.filter((claim) => !claim.isSurplus);
  }

  /** Holds nothing any more; the next heartbeat joins as a new member. */
  forget(): void {
    this.#life += 1;
    this.#memberId = "";
    this.#joiningId = "";
    this.#claims = [];
    this.#leaseUntil = -Infinity;
    this.shards.clear();
  }

  /** These shards are not ours any more, whatever the last heartbeat said. */
  drop(shards: readonly number[]): void {
    for (const shard of shards) this.shards.delete(shard);
    this.#claims = this.#claims.filter((claim) => !shards.includes(claim.shard));
  }

  /** Hands everything back, so that others need not wait for the lease to end. */
  async leave(): Promise<void> {
    const id = this.#memberId === "" ? this.#joiningId : this.#memberId;
    if (id === "") return;
    const member = { id, shards: [], isLeaving: true };
    this.forget();
    await this.#parts.outbox.release(member);
  }
}
