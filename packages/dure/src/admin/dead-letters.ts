import { DureError } from "../core/errors.ts";
import { checkedActor, checkedReason, invalid } from "./actor.ts";
import type { Actor, AdminStore, DeadLetter, DeadLetterFilter } from "./admin-store.ts";
import type { SagaControl } from "./saga-control.ts";

/** The dead letters of one service: what failed for good, and what may be done about it. */
export interface DeadLetters {
  /** The oldest first. @defaultValue limit 100 */
  list(
    filter?: DeadLetterFilter,
    options?: { readonly limit?: number },
  ): Promise<readonly DeadLetter[]>;
  /**
   * Tries dead letters again: same id, in order per key, with all their attempts; parked sagas are retried. Doing it twice does it
   * once: what is being tried already is no dead letter. Written to the audit log.
   * @returns how many
   * @throws DEAD_LETTER_NOT_FOUND when `filter.id` names none
   */
  redrive(filter: DeadLetterFilter, by: Actor & { readonly limit?: number }): Promise<number>;
  /**
   * Gives dead letters up for good and lets their keys go on. Written to the audit log. A saga is none to be
   * forgotten: it is compensated, or someone says as what it ended ({@link SagaControl.resolve}).
   * @returns how many
   * @throws SAGA_COMMAND_REFUSED when a saga is meant
   * @throws DEAD_LETTER_NOT_FOUND when `filter.id` names none
   */
  discard(
    filter: DeadLetterFilter,
    by: Actor & { readonly reason: string; readonly limit?: number },
  ): Promise<number>;
}

const limitMax = 10_000;

const sagaPrefix = "saga/";

/** The dead letters in the given store. `onRedrive` is told that sagas may be due. */
export function createDeadLetters(store: AdminStore, onRedrive?: () => void): DeadLetters {
  return {
    list: (filter, options) => store.deadLetters(checked(filter ?? {}), options?.limit ?? 100),
    async redrive(filter, by) {
      const count = await store.redrive(checked(filter), by.limit ?? limitMax, checkedActor(by));
      if (count > 0) onRedrive?.();
      return found(filter, count);
    },
    async discard(filter, by) {
      const checkedBy = checkedReason(by, "the dead letters are given up");
      if (filter.side === "saga" || filter.id?.startsWith(sagaPrefix) === true) {
        throw new DureError(
          "SAGA_COMMAND_REFUSED",
          "a parked saga cannot be discarded: others depend on what it has done. Undo it (dure sagas compensate), skip what failed (skip), or say as what it ended (resolve --as)",
        );
      }
      return found(filter, await store.discard(checked(filter), by.limit ?? limitMax, checkedBy));
    },
  };
}

function checked(filter: DeadLetterFilter): DeadLetterFilter {
  if (filter.id !== undefined && !/^(?:\d{1,18}|saga\/[A-Za-z0-9._:-]{1,128})$/.test(filter.id)) {
    throw invalid(
      `id: "${filter.id.slice(0, 40)}" is no dead letter's id; it is what the list shows`,
    );
  }
  return filter;
}

function found(filter: DeadLetterFilter, count: number): number {
  if (count > 0 || filter.id === undefined) return count;
  throw new DureError(
    "DEAD_LETTER_NOT_FOUND",
    `there is no dead letter ${filter.id}: it was redriven or discarded, or its message is not given up yet`,
  );
}
