import type { Clock } from "./clock.ts";
import { describeError } from "./errors.ts";
import { newId } from "./id.ts";
import type { Logger } from "./logger.ts";
import { createTrouble } from "./trouble.ts";
import type { Trouble } from "./trouble.ts";

/** A partition that a member holds. */
export interface PartitionClaim {
  readonly partition: number;
  /** Raised with each change of owner. */
  readonly epoch: number;
  /** Beyond the fair share: to be released when nothing of it is in flight. */
  readonly isSurplus: boolean;
}

/** What a membership is made of. */
export interface GroupMembershipParts {
  readonly group: string;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Renews the lease by the store's clock and takes a share of what is free. Undefined: the lease had run out. */
  readonly claim: (member: {
    readonly id: string;
    readonly isJoining: boolean;
  }) => Promise<readonly PartitionClaim[] | undefined>;
  /** Gives partitions back; all of them and the membership when leaving. */
  readonly release: (member: {
    readonly id: string;
    readonly partitions: readonly number[];
    readonly isLeaving: boolean;
  }) => Promise<void>;
  /** Another member had the partition in between: what is remembered of it is old. */
  readonly onChanged: (partition: number) => void;
  readonly onRenewed: () => void;
}

/**
 * A member's place in a consumer group whose partitions are held under leases: joins, renews each third of the
 * lease, and joins again under another id when it was lost. The lease counts on the local clock from before the
 * request, so that it ends here no later than in the store.
 */
export class GroupMembership {
  readonly #parts: GroupMembershipParts;
  readonly #stop: AbortController = new AbortController();
  readonly #heartbeats: Promise<void>;
  #memberId = "";
  /** The id that is joining: kept until it is in, so that a lost answer leaves no second member behind. */
  #joiningId = "";
  #owned: ReadonlyMap<number, number> = new Map();
  #surplus: ReadonlySet<number> = new Set();
  #leaseUntil = -Infinity;
  /** Whether the last heartbeat failed. */
  #isCutOff = false;

  constructor(parts: GroupMembershipParts) {
    this.#parts = parts;
    this.#heartbeats = this.#keepLease();
  }

  get memberId(): string {
    return this.#memberId;
  }

  /** The partitions that are ours, with their epochs. */
  get owned(): ReadonlyMap<number, number> {
    return this.#owned;
  }

  /** Whether the lease is live. @throws Error when it is over and cannot be renewed */
  isLive(): boolean {
    if (this.#parts.clock.monotonic() < this.#leaseUntil) return true;
    if (this.#isCutOff) throw new Error("the lease of this member is over and cannot be renewed");
    return false;
  }

  /** Gives back what is beyond the fair share and not busy, after what `settle` has to write. */
  async releaseSurplus(busy: ReadonlySet<number>, settle: () => Promise<void>): Promise<void> {
    const given = [...this.#surplus].filter((partition) => !busy.has(partition));
    if (given.length === 0) return;
    await settle();
    await this.#parts.release({ id: this.#memberId, partitions: given, isLeaving: false });
    this.#owned = new Map([...this.#owned].filter(([partition]) => !given.includes(partition)));
    this.#surplus = new Set();
  }

  /** Ends the heartbeats. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#heartbeats;
  }

  /** After {@link GroupMembership.stop}: others may take everything at once. */
  async leave(): Promise<void> {
    const id = this.#memberId === "" ? this.#joiningId : this.#memberId;
    if (id !== "") await this.#parts.release({ id, partitions: [], isLeaving: true });
  }

  async #keepLease(): Promise<void> {
    // Whoever makes this has not done with its own construction.
    await Promise.resolve();
    const { clock, leaseMs, onRenewed } = this.#parts;
    const { signal } = this.#stop;
    const trouble = groupTrouble(
      this.#parts,
      "consumer cannot renew its lease and tries again",
      "consumer renews its lease again",
    );
    while (!signal.aborted) {
      try {
        await this.#heartbeat();
        this.#isCutOff = false;
        trouble.succeeded();
        onRenewed();
      } catch (error) {
        this.#isCutOff = true;
        trouble.failed(error);
      }
      await clock.sleep(leaseMs / (this.#isCutOff ? 10 : 3), signal);
    }
  }

  async #heartbeat(): Promise<void> {
    const { logger, group } = this.#parts;
    if (await this.#renew()) return;
    logger.warn("consumer lost its lease and joins its group again", { group });
    this.#memberId = "";
    this.#owned = new Map();
    this.#leaseUntil = -Infinity;
    await this.#renew();
  }

  /** Resolves to whether we are a member. */
  async #renew(): Promise<boolean> {
    const { clock, leaseMs, claim, onChanged } = this.#parts;
    const isJoining = this.#memberId === "";
    if (isJoining && this.#joiningId === "") this.#joiningId = newId(clock);
    const id = isJoining ? this.#joiningId : this.#memberId;
    const requestedAt = clock.monotonic();
    const claims = await claim({ id, isJoining });
    if (claims === undefined) return false;
    this.#memberId = id;
    this.#joiningId = "";
    for (const { partition, epoch } of claims) {
      if (this.#owned.get(partition) !== epoch) onChanged(partition);
    }
    this.#owned = new Map(claims.map(({ partition, epoch }) => [partition, epoch]));
    this.#surplus = new Set(
      claims.filter(({ isSurplus }) => isSurplus).map(({ partition }) => partition),
    );
    this.#leaseUntil = requestedAt + leaseMs;
    return true;
  }
}

/** Trouble of a group's member, said once. */
export function groupTrouble(
  parts: Pick<GroupMembershipParts, "clock" | "leaseMs" | "logger" | "group">,
  message: string,
  messageOver: string,
): Trouble {
  const { clock, leaseMs, logger, group } = parts;
  return createTrouble({
    clock,
    settleMs: leaseMs,
    say: (error) => logger.warn(message, { group, error: describeError(error) }),
    sayOver: () => logger.info(messageOver, { group }),
  });
}
