import { setTimeout as delay } from "node:timers/promises";
import { SetupError } from "./setup-error.ts";

/** How long to wait, and what ends the wait early. */
export interface ReadinessOptions {
  readonly withinMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Waits until `/readyz` answers 200.
 *
 * @throws SetupError with the last answer when it does not in time; the signal's reason
 */
export async function waitUntilReady(url: string, options: ReadinessOptions): Promise<void> {
  const deadline = performance.now() + options.withinMs;
  let last = "no answer";
  while (performance.now() < deadline) {
    options.signal?.throwIfAborted();
    last = await askOnce(url);
    if (last === "ready") return;
    await delay(50, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
  throw new SetupError(`${url} is not ready after ${options.withinMs / 1000} s: ${last}`);
}

/** Whether `/readyz` answers 200 now. */
export async function isReady(url: string): Promise<boolean> {
  return (await askOnce(url)) === "ready";
}

async function askOnce(url: string): Promise<string> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(5000) });
    const text = await response.text();
    return response.status === 200 ? "ready" : `${response.status} ${text.slice(0, 300)}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
