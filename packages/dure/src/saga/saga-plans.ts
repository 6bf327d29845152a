import { DureError } from "../core/errors.ts";
import type { SagaPlan } from "./saga-decision.ts";
import type { AnySagaDefinition } from "./saga-definition.ts";
import { stepsOf } from "./saga-state.ts";

/** How a definition's version is found. */
export function planKey(definition: string, version: number): string {
  return `${definition}@${version}`;
}

/**
 * The definitions that a process knows, by name and version.
 * @throws CONFIGURATION_INVALID when one version is given twice
 */
export function plansOf(definitions: readonly AnySagaDefinition[]): ReadonlyMap<string, SagaPlan> {
  const plans = new Map<string, SagaPlan>();
  for (const definition of definitions) {
    const key = planKey(definition.name, definition.version);
    if (plans.has(key)) {
      throw new DureError(
        "CONFIGURATION_INVALID",
        `sagas: version ${definition.version} of "${definition.name}" is given twice`,
      );
    }
    plans.set(key, { definition, steps: stepsOf(definition) });
  }
  return plans;
}
