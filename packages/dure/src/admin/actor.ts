import { DureError } from "../core/errors.ts";

/** Who does something, and why; written to the audit log with it. */
export interface Actor {
  readonly actor: string;
  readonly reason?: string;
}

/** As {@link Actor}, where it must be said why. */
export interface ActorWithReason extends Actor {
  readonly reason: string;
}

/**
 * Whoever does something says who it is.
 * @throws CONFIGURATION_INVALID
 */
export function checkedActor<By extends Actor>(by: By): By {
  if (by.actor.trim() === "") throw invalid("actor: say who does it");
  return by;
}

/**
 * As {@link checkedActor}, and says why. `what` completes "say why".
 * @throws CONFIGURATION_INVALID
 */
export function checkedReason<By extends Actor & { readonly reason: string }>(
  by: By,
  what: string,
): By {
  if (by.reason.trim() === "") throw invalid(`reason: say why ${what}`);
  return checkedActor(by);
}

/** An argument that cannot be used. */
export function invalid(message: string): DureError {
  return new DureError("CONFIGURATION_INVALID", message);
}
