import { deepFreeze } from "./attempt-execution.ts";
import type { SagaPlan } from "./saga-decision.ts";
import type { SagaEvent } from "./saga-event.ts";
import { apply, initialState } from "./saga-state.ts";
import type { SagaState } from "./saga-state.ts";
import type { StoredSaga } from "./saga-store.ts";

/**
 * What the journal makes of a stored saga.
 * @throws ASSERTION_FAILED when the journal does not fit the definition
 */
export function replay(
  plan: SagaPlan,
  { input, journal }: Pick<StoredSaga, "input" | "journal">,
): SagaState {
  const state = initialState(deepFreeze(input));
  for (const entry of journal) {
    // Only the engine writes entries.
    for (const event of entry as readonly SagaEvent[]) apply(state, event, plan.steps);
  }
  return state;
}
