import type { Actor, ActorWithReason } from "./actor.ts";

/** How a semaphore stands, by the database's clock. */
export interface SemaphoreStatus {
  readonly name: string;
  /** What is in force: an operator's setting, or what the code declares. */
  readonly permits: number;
  readonly lineMax: number;
  /** What the code says that declared it last. */
  readonly declaredPermits: number;
  readonly declaredLineMax: number;
  /** An operator's setting is in force. */
  readonly isSet: boolean;
  /** Permits that are held; more than `permits` only for a while after they were made fewer. */
  readonly held: number;
  /** Length of the line. */
  readonly waiting: number;
  /** How long the first of the line has been waiting; 0: nobody is. */
  readonly oldestWaitMs: number;
  readonly longestHeldMs: number;
}

/** A permit that is held, or a place in the line. */
export interface SemaphorePlace {
  readonly id: string;
  readonly semaphore: string;
  /** The service and its process id. */
  readonly process: string;
  readonly state: "HELD" | "WAITING";
  /** In the line, from 1; null: it is held. */
  readonly position: number | null;
  /** Since when it is in this state, in milliseconds. */
  readonly forMs: number;
  /** What is left of the process's lease. */
  readonly leaseMsLeft: number;
}

/** The part of the operators' store that is about semaphores. */
export interface SemaphoreAdminStore {
  list(): Promise<readonly SemaphoreStatus[]>;
  /** The held ones first, then the line in its order. */
  places(name: string, limit: number): Promise<readonly SemaphorePlace[]>;
  /** What is in force from now on; undefined: what the code declares. Resolves to whether there is such a semaphore. */
  set(
    name: string,
    size: { readonly permits?: number; readonly lineMax?: number } | undefined,
    by: Actor,
  ): Promise<boolean>;
  /** Takes a place from whoever has it. Resolves to whether it was there. */
  takeAway(id: string, by: ActorWithReason): Promise<boolean>;
}
