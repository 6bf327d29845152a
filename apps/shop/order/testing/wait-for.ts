import { setTimeout as delay } from "node:timers/promises";

/** How long and for what a test waits. */
export interface WaitForOptions {
  /** Completes the sentence "waited for …" of the failure. */
  readonly what: string;
  /** @defaultValue 15000 */
  readonly timeoutMs?: number;
}

/** Asks until the answer is true; fails when the time is over. */
export async function waitFor(
  condition: () => boolean | undefined | Promise<boolean | undefined>,
  { what, timeoutMs = 15_000 }: WaitForOptions,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while ((await condition()) !== true) {
    if (performance.now() >= deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await delay(20);
  }
}
