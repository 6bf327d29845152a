import { systemClock } from "../core/clock.ts";

/** Asks again and again until the answer is yes or the time is over; tells which of the two. */
export async function pollUntil(
  isDone: () => boolean | Promise<boolean>,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<boolean> {
  const deadline = systemClock.monotonic() + timeoutMs;
  while (!(await isDone())) {
    if (systemClock.monotonic() >= deadline) return false;
    await systemClock.sleep(20, signal);
    signal?.throwIfAborted();
  }
  return true;
}
