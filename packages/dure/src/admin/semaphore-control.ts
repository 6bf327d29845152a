import { DureError } from "../core/errors.ts";
import { checkedActor, checkedReason, invalid } from "./actor.ts";
import type { Actor, ActorWithReason } from "./actor.ts";
import type {
  SemaphoreAdminStore,
  SemaphorePlace,
  SemaphoreStatus,
} from "./semaphore-admin-store.ts";

/** The semaphores of one database, whatever processes use them: the operator's levers. */
export interface SemaphoreControl {
  /** All of them, by name. Cheap enough to be asked every few seconds. */
  list(): Promise<readonly SemaphoreStatus[]>;
  /** Who holds its permits and who waits, the line in its order. @defaultValue limit 100 */
  places(name: string, options?: { readonly limit?: number }): Promise<readonly SemaphorePlace[]>;
  /**
   * Changes how many permits there are (0 to 10000; 0: nobody comes in) and how many may wait (0 to 100000), at
   * once and until {@link SemaphoreControl.reset}, whatever the code declares. Nobody is thrown out: with fewer
   * permits nobody comes in until enough have left. Written to the audit log.
   * @throws SEMAPHORE_NOT_FOUND
   */
  set(
    name: string,
    size: { readonly permits?: number; readonly lineMax?: number },
    by: ActorWithReason,
  ): Promise<void>;
  /**
   * Lets the code's own numbers hold again. Written to the audit log.
   * @throws SEMAPHORE_NOT_FOUND
   */
  reset(name: string, by: Actor): Promise<void>;
  /**
   * Takes a permit, or a place in the line, from whoever has it: by its id in {@link SemaphoreControl.places}.
   * The permit is given to the next at once; its holder is told and its signal aborts, but what it has sent
   * may still be under way. Written to the audit log.
   * @throws SEMAPHORE_NOT_FOUND when there is no such place any more
   */
  release(id: string, by: ActorWithReason): Promise<void>;
}

/** The levers over the given store. */
export function createSemaphoreControl(store: SemaphoreAdminStore): SemaphoreControl {
  return {
    list: () => store.list(),
    places: (name, options) => store.places(name, options?.limit ?? 100),
    async set(name, size, by) {
      const { permits, lineMax } = size;
      if (permits === undefined && lineMax === undefined) throw invalid("say permits or lineMax");
      checkCount("permits", permits, 10_000);
      checkCount("lineMax", lineMax, 100_000);
      found(name, await store.set(name, size, checkedReason(by, "the semaphore is changed")));
    },
    async reset(name, by) {
      found(name, await store.set(name, undefined, checkedActor(by)));
    },
    async release(id, by) {
      if (!/^\d{1,18}$/.test(id)) throw invalid("id: must be a place's id, as the list shows it");
      if (await store.takeAway(id, checkedReason(by, "the place is taken away"))) return;
      const message = `there is no place ${id}: it was given back, or its process is gone`;
      throw new DureError("SEMAPHORE_NOT_FOUND", message);
    },
  };
}

function checkCount(name: string, value: number | undefined, max: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 0 && value <= max)) return;
  throw invalid(`${name}: must be a whole number from 0 to ${max}, got ${String(value)}`);
}

function found(name: string, isFound: boolean): void {
  if (isFound) return;
  const message = `there is no semaphore "${name}" in this database: the first use of it makes it`;
  throw new DureError("SEMAPHORE_NOT_FOUND", message);
}
