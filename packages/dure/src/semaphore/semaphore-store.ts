/** What the code says about a semaphore. */
export interface SemaphoreSize {
  readonly permits: number;
  readonly lineMax: number;
}

/** Members that were granted a permit: whoever gets this says so to their processes. */
export interface Granting {
  readonly woken: readonly number[];
}

/** One request for a permit. */
export interface PlaceRequest {
  readonly name: string;
  readonly member: number;
  /** The member's own name for the place, so that one whose answer was lost is known again. */
  readonly key: string;
}

/** What became of a request for a permit. */
export interface PlaceAnswer extends Granting {
  /**
   * `held`: the permit is the member's. `waiting`: it has a place in the line. `busy`: there is none, and it may not wait.
   * `full`: so is the line. `fenced`: the member's lease is over. `undeclared`: there is no such semaphore. Only the first
   * two leave a place behind.
   */
  readonly kind: "held" | "waiting" | "busy" | "full" | "fenced" | "undeclared";
  /** How many wait: before this one. */
  readonly waiting: number;
}

/** A place of a member, as it stands. */
export interface OwnPlace {
  readonly name: string;
  readonly key: string;
  readonly isHeld: boolean;
}

/**
 * The rows of semaphores. Each method is one decision, on its own and not in a caller's transaction; decisions
 * about one semaphore have one order, and places are granted in the order in which they were asked for. Only the store's
 * clock says whose lease is over.
 */
export interface SemaphoreStore {
  /** A new member with a lease, by a number that was never used. */
  join(process: string, leaseMs: number): Promise<number>;
  /** Renews its lease. False: it was fenced, or is gone. */
  beat(member: number, leaseMs: number): Promise<boolean>;
  /** Gives up all its places and the membership. */
  leave(member: number): Promise<Granting>;
  /** Says how large a semaphore is; an operator's setting goes before it. */
  declare(name: string, size: SemaphoreSize): Promise<Granting>;
  acquire(request: PlaceRequest & { readonly mayWait: boolean }): Promise<PlaceAnswer>;
  /** Gives a place up; with `onlyWaiting`, unless it has been granted: then `isGone` is false and it is held. */
  release(
    request: PlaceRequest & { readonly onlyWaiting: boolean },
  ): Promise<Granting & { readonly isGone: boolean }>;
  /** Fences members whose lease is over, grants what they held, and lists the member's own places. */
  look(member: number): Promise<Granting & { readonly places: readonly OwnPlace[] }>;
  /** Hints to the members' processes; may be lost. */
  tell(members: readonly number[]): void;
  /** Told of members that were granted something, or lost it. Returns how to end it. */
  listen(listener: (members: readonly number[]) => void): () => void;
}
