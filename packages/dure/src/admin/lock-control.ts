import type { HeldLease, LockAdminStore } from "../lock/lock-store.ts";
import { checkedReason, invalid } from "./actor.ts";
import type { ActorWithReason } from "./actor.ts";

/** The locks of one service: what an operator sees of them, and does to them. */
export interface LockControl {
  /** Those that are held now, by key: by whom, under which token, and for how long unless renewed. */
  list(options?: {
    /** Only keys that begin so. */
    readonly prefix?: string;
    /** 1 to 10000. @defaultValue 100 */
    readonly limit?: number;
  }): Promise<readonly HeldLease[]>;
  /**
   * Frees a lock whoever holds it, for others to take at once. Its holder is not asked: it learns of it with its next
   * renewal, and until then writes only what nobody checks. What commits under `withLock`, or through a guarded
   * write after a later holder, is refused. Twice is once. Written to the audit log.
   * @returns whether somebody held it
   */
  forceRelease(key: string, by: ActorWithReason): Promise<boolean>;
}

/** The levers over the given store. */
export function createLockControl(store: LockAdminStore): LockControl {
  return {
    async list({ prefix = "", limit = 100 } = {}) {
      if (!Number.isInteger(limit) || limit < 1 || limit > 10_000) {
        throw invalid("limit: must be a whole number from 1 to 10000");
      }
      return store.list({ prefix, limit });
    },
    forceRelease: async (key, by) =>
      store.forceRelease(key, checkedReason(by, "the lock is released")),
  };
}
