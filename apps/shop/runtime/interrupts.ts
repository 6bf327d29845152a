/** The wish of the person, or of the machine, that this program ends. */
export interface Interrupts {
  /** Aborts at the first Ctrl-C, SIGTERM or hang-up. */
  readonly signal: AbortSignal;
  /** Resolves then. */
  readonly requested: Promise<void>;
}

/** npm hands on a Ctrl-C that the terminal has sent us already; that is one wish, not two. */
const sameWishMs = 500;

/**
 * Listens for the signals that end a program. The first one is left to the caller, who stops in
 * order; another one ends the process at once.
 *
 * @param endAtOnce ends what would outlive this process; it cannot wait for anything
 */
export function listenForInterrupts(endAtOnce: () => void): Interrupts {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  let firstAt: number | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    if (firstAt === undefined) {
      firstAt = performance.now();
      controller.abort(new Error(`stopped by ${name}`));
      resolve();
      return;
    }
    if (performance.now() - firstAt < sameWishMs) return;
    endAtOnce();
    process.exit(130);
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, onSignal);
  return { signal: controller.signal, requested: promise };
}
