import { inspect } from "node:util";
import { setTimeout as delay } from "node:timers/promises";

/** How long and for what {@link waitFor} waits. */
export interface WaitForOptions {
  /** Completes the sentence "waited for …" of the failure. */
  readonly what: string;
  /** @defaultValue 10 000 */
  readonly timeoutMs?: number;
  /** @defaultValue 20 */
  readonly intervalMs?: number;
}

/**
 * Asks until the answer is truthy and returns that answer; fails with the last answer when the time
 * is over. An error of the condition is a failure at once: tests say what they tolerate.
 */
export async function waitFor<Answer>(
  condition: () => Answer | Promise<Answer>,
  { what, timeoutMs = 10_000, intervalMs = 20 }: WaitForOptions,
): Promise<Exclude<Answer, undefined | null | false | 0 | "">> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await condition();
    // Truthy is what the return type says, which the compiler cannot follow through a promise.
    if (answer) return answer as Exclude<Answer, undefined | null | false | 0 | "">;
    if (performance.now() >= deadline) {
      throw new Error(`waited ${timeoutMs} ms for ${what}; the last answer was ${inspect(answer)}`);
    }
    await delay(intervalMs);
  }
}

/** Fails as soon as the condition is false; for what must *not* happen within `forMs`. */
export async function holdsFor(
  condition: () => boolean | Promise<boolean>,
  { what, forMs, intervalMs = 20 }: { what: string; forMs: number; intervalMs?: number },
): Promise<void> {
  const deadline = performance.now() + forMs;
  do {
    if (!(await condition())) throw new Error(`this should have held for ${forMs} ms: ${what}`);
    await delay(intervalMs);
  } while (performance.now() < deadline);
}

/** Waits for the promise, and fails naming what was expected when the time is over. */
export async function within<Value>(
  promise: Promise<Value>,
  { what, timeoutMs = 10_000 }: { what: string; timeoutMs?: number },
): Promise<Value> {
  const over = new AbortController();
  const timeout = delay(timeoutMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`waited ${timeoutMs} ms for ${what}`);
  });
  timeout.catch(() => {}); // it ends by abort when the promise wins
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    over.abort();
  }
}
