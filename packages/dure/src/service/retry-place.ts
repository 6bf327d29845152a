import { DureError } from "../core/errors.ts";
import type { RetryTopics, Transport } from "../core/transport.ts";
import type { PoisonPolicy, RetryPlace } from "../inbox/inbox.ts";
import type { Group } from "./consumer-wiring.ts";

/** @throws CONFIGURATION_INVALID when the two contradict each other */
export function checkRetryPlace(
  type: string,
  given: { readonly retry: RetryPlace; readonly whenPoisoned: PoisonPolicy | undefined },
): void {
  if (!["park", "topics"].includes(given.retry)) {
    throw misuse(
      `the handler of "${type}": retry must be "park" or "topics", got "${given.retry}"`,
    );
  }
  if (given.retry === "park" || given.whenPoisoned !== "park-key") return;
  throw misuse(
    `the handler of "${type}" has retry "topics" and whenPoisoned "park-key": with retry topics its key goes on, and nothing can hold it afterwards. Leave out one of them`,
  );
}

/**
 * The retry topics that some handler asks for.
 * @throws CONFIGURATION_INVALID when the transport has none, or handlers of one type disagree
 */
export function retryTopicsFor(
  groups: readonly Group[],
  transport: Transport | undefined,
): RetryTopics | undefined {
  const asking = groups.flatMap(({ name, subscribers }) =>
    subscribers
      .filter(({ retry }) => retry === "topics")
      .map(({ definition: { type } }) => ({ name, subscribers, type })),
  );
  if (asking.length === 0) return undefined;
  for (const { name, subscribers, type } of asking) {
    const own = subscribers.filter(({ definition }) => definition.type === type);
    if (own.every(({ retry }) => retry === "topics")) continue;
    throw misuse(
      `handlers of "${type}" in group "${name}" disagree: some have retry "topics", some "park". A message has one place; say the same, or use two groups`,
    );
  }
  if (transport?.retryTopics !== undefined) return transport.retryTopics;
  const types = [...new Set(asking.map(({ type }) => `"${type}"`))].join(", ");
  throw misuse(
    `the handlers of ${types} have retry "topics", but the transport "${transport?.name ?? "none"}" has no retry topics. kafkaTransport has them; retry "park" works with each`,
  );
}

/** How this service was put together does not go together. */
export function misuse(what: string): DureError {
  return new DureError("CONFIGURATION_INVALID", `dure: ${what}`);
}
