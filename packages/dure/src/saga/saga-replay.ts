import { deepFreeze } from "./attempt-execution.ts";
import type { SagaPlan } from "./saga-decision.ts";
import { sagaDefaults } from "./saga-defaults.ts";
import type { StepPlan } from "./saga-definition.ts";
import type { SagaEvent } from "./saga-event.ts";
import { apply, initialState } from "./saga-state.ts";
import type { SagaState } from "./saga-state.ts";
import type { StoredSaga } from "./saga-store.ts";

/**
 * What the journal makes of a stored saga.
 * @throws ASSERTION_FAILED when the journal does not fit the definition
 */
export function replay(
  { steps }: Pick<SagaPlan, "steps">,
  saga: Pick<StoredSaga, "input" | "journal">,
): SagaState {
  const state = initialState(deepFreeze(saga.input));
  for (const event of eventsOf(saga)) apply(state, event, steps);
  return state;
}

/**
 * As {@link replay}, without the definition: what steps do is not known then, and which of them can be undone
 * only as far as the journal says it.
 */
export function replayUnknown(saga: Pick<StoredSaga, "input" | "journal">): SagaState {
  const events = eventsOf(saga);
  const undoable = new Set<string>();
  for (const event of events) {
    if (event.type === "undo-begun") undoable.add(event.step);
    if (event.type === "parked") for (const step of event.owed ?? []) undoable.add(step);
  }
  const steps = new Map<string, StepPlan>();
  for (const event of events) {
    if (event.type !== "begun") continue;
    steps.set(event.step, unknownStep(event.step, undoable.has(event.step)));
  }
  return replay({ steps }, saga);
}

/** The events of all entries, in order: only the engine writes them. */
export function eventsOf({ journal }: Pick<StoredSaga, "journal">): readonly SagaEvent[] {
  return journal.flat() as SagaEvent[];
}

function unknownStep(name: string, isUndoable: boolean): StepPlan {
  const action = { kind: "run", run: () => Promise.resolve() } as const;
  const { retry, timeoutMs } = sagaDefaults;
  return {
    name,
    isPivot: false,
    keySuffix: name,
    action,
    timeoutMs: timeoutMs.run,
    retry: retry.step,
    compensation: isUndoable
      ? {
          keySuffix: name,
          action,
          timeoutMs: timeoutMs.run,
          retry: retry.compensation,
          needs: [],
        }
      : undefined,
    isReadOnly: false,
  };
}
