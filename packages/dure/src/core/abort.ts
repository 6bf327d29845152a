/** A signal that something may have become ready: many may say so, one waits, nothing is lost between. */
export interface Wakeup {
  /** Wakes the waiter, or the next one. */
  wake(): void;
  /** Resolves when woken (also if that was before the call), after `timeoutMs`, or when the signal aborts. */
  wait(timeoutMs: number, signal: AbortSignal): Promise<"woken" | "timeout">;
}

/** Makes a {@link Wakeup}. One waiter at a time. */
export function createWakeup(): Wakeup {
  let isWoken = false;
  let notify: (() => void) | undefined;
  return {
    wake() {
      isWoken = true;
      notify?.();
    },
    wait(timeoutMs, signal) {
      return new Promise((resolve) => {
        const finish = (): void => {
          clearTimeout(timer);
          signal.removeEventListener("abort", finish);
          notify = undefined;
          const outcome = isWoken ? "woken" : "timeout";
          isWoken = false;
          resolve(outcome);
        };
        const timer = setTimeout(finish, timeoutMs);
        notify = finish;
        if (isWoken || signal.aborted) return finish();
        signal.addEventListener("abort", finish, { once: true });
      });
    },
  };
}

/** Resolves when `promise` settles or after `ms` milliseconds; says which. A rejection is the promise's owner's to see. */
export async function settledWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([
      promise.then(
        () => true,
        () => true,
      ),
      timeout,
    ]);
  } finally {
    clearTimeout(timer);
  }
}
