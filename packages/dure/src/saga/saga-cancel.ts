import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { SagaPlan } from "./saga-decision.ts";
import { isAtRest } from "./saga-event.ts";
import type { SagaStatus } from "./saga-event.ts";
import { sagaNotFound } from "./saga-outcomes.ts";
import { planKey } from "./saga-plans.ts";
import { replay } from "./saga-replay.ts";
import { refusalOf } from "./saga-signal.ts";
import type { SagaCommand } from "./saga-signal.ts";
import type { SagaStore } from "./saga-store.ts";

/** What canceling takes. */
export interface CancelSagaOptions {
  /** Why, in a word: it becomes the code of the saga's reason. */
  readonly reason: string;
  /** Who asks for it: a customer, a service, a person. */
  readonly actor: string;
  /**
   * The request commits with this transaction, and all is read on its connection; without one it has committed
   * when the promise resolves.
   */
  readonly tx?: TransactionHandle;
}

/**
 * What became of a request to cancel. `accepted`: it was asked for before the pivot, as far as the journal
 * goes; the saga's outcome says which of the two came first. `too-late`: its pivot has begun, so it only goes
 * forward. `ended`: nothing happens to it any more, or it waits for an operator.
 */
export type CancelOutcome =
  | { readonly kind: "accepted" }
  | { readonly kind: "too-late" }
  | { readonly kind: "ended"; readonly status: SagaStatus };

/** What canceling needs. */
export interface CancelParts {
  readonly store: Pick<SagaStore, "load" | "signal">;
  readonly plans: ReadonlyMap<string, SagaPlan>;
  /** The signal is there, or will be when that transaction commits. */
  readonly onSignal: (tx: TransactionHandle | undefined) => void;
}

/**
 * Asks for a saga to be compensated.
 * @throws SAGA_NOT_FOUND
 * @throws SAGA_COMMAND_REFUSED for a flow
 * @throws CONFIGURATION_INVALID without actor or reason
 */
export async function cancelSaga(
  { store, plans, onSignal }: CancelParts,
  sagaId: string,
  { reason, actor, tx }: CancelSagaOptions,
): Promise<CancelOutcome> {
  if (isBlank(actor)) throw blank("actor: say who cancels the saga");
  if (isBlank(reason)) throw blank("reason: say why the saga is canceled");
  const body: SagaCommand = { kind: "command", command: "cancel", actor, why: reason };
  const [saga] = await store.load([sagaId], tx);
  if (saga !== undefined && isAtRest(saga.status)) return { kind: "ended", status: saga.status };
  const plan = saga && plans.get(planKey(saga.definition, saga.version));
  // Of a saga that this process does not know the owner decides.
  if (
    saga !== undefined &&
    plan !== undefined &&
    refusalOf(replay(plan, saga), body) !== undefined
  ) {
    return { kind: "too-late" };
  }
  if (await store.signal(tx, sagaId, { dedupKey: "cancel", body })) {
    onSignal(tx);
    return { kind: "accepted" };
  }
  // It ended in between, or was never there: one that this very transaction started would have taken it.
  const [ended] = await store.load([sagaId], tx);
  if (ended === undefined) throw sagaNotFound(sagaId);
  if (!isAtRest(ended.status)) {
    throw new DureError(
      "SAGA_COMMAND_REFUSED",
      `cannot cancel ${sagaId}: it is a flow, which nobody drives; an event of its services turns it`,
    );
  }
  return { kind: "ended", status: ended.status };
}

function isBlank(text: unknown): boolean {
  return typeof text !== "string" || text.trim() === "";
}

function blank(message: string): DureError {
  return new DureError("CONFIGURATION_INVALID", message);
}
