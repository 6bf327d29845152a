/** Time and randomness as the library takes them: through one port, so that a test can hold both still. */
export interface Clock {
  /** Milliseconds since the epoch, for stamps that people read. Never decides who holds a lease: the database's clock does. */
  now(): number;
  /** Milliseconds on a clock that never goes back, for local deadlines. */
  monotonic(): number;
  /** A number in [0, 1). */
  random(): number;
  /** Resolves after `ms` milliseconds, or at once when `signal` aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The real clock of this process: the default everywhere. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  random: () => Math.random(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const finish = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", finish);
        resolve();
      };
      const timer = setTimeout(finish, ms);
      signal?.addEventListener("abort", finish, { once: true });
    }),
};
