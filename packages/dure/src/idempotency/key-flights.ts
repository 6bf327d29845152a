import { settledWithin } from "../core/abort.ts";
import type { Clock } from "../core/clock.ts";
import type {
  Answer,
  KeyedOutcome,
  KeyedRequest,
  KeyedRequests,
  KeyRunner,
  WaitForAnswer,
  Work,
} from "./keyed-request.ts";

/** What the requests of one key in this process share while one of them asks, runs or waits. */
interface Flight {
  /** It is known that the request is running: here, or in another process. */
  readonly running: PromiseWithResolvers<void>;
  /** The answer; undefined: it came to nothing, so somebody else may try. */
  readonly landed: PromiseWithResolvers<Answer | undefined>;
}

const pollMsMin = 5;
const pollMsMax = 100;
const retryAfterMs = 1_000;
const inFlight: Promise<"in_flight"> = Promise.resolve("in_flight");

/**
 * Keyed requests over a runner. Of the requests with one key and fingerprint in this process one tries, and
 * polls while another process has the key; the others wait for it and hold no connection. When it comes to
 * nothing the next one tries in its place. All waits are bounded by `waitMsMax`.
 */
export function createKeyedRequests<Context>(
  runner: KeyRunner<Context>,
  clock: Clock,
): KeyedRequests<Context> {
  const flights = new Map<string, Flight>();
  return {
    unkeyed: (work, options) => runner.unkeyed(work, options),
    async once(request, work, wait) {
      const id = JSON.stringify([request.scope, request.key, request.fingerprint]);
      const deadlineAt = clock.monotonic() + wait.waitMsMax;
      // Ends: each round waits for a flight, until the deadline at most, or is the one that tries.
      for (;;) {
        const flight = flights.get(id);
        if (flight === undefined) return lead(id, request, work, { ...wait, deadlineAt });
        const answer = await join(flight, wait, deadlineAt - clock.monotonic());
        if (answer === "in_flight") return { kind: "in_flight", retryAfterMs };
        if (answer !== undefined) return { kind: "replayed", answer };
      }
    },
  };

  /** Tries, and tries again while the key is another process's. */
  async function lead(
    id: string,
    request: KeyedRequest,
    work: Work<Context>,
    { deadlineAt, signal }: WaitForAnswer & { readonly deadlineAt: number },
  ): Promise<KeyedOutcome> {
    const flight: Flight = {
      running: Promise.withResolvers(),
      landed: Promise.withResolvers(),
    };
    flights.set(id, flight);
    let stored: Answer | undefined;
    const workSeen: Work<Context> = async (context) => {
      flight.running.resolve();
      const worked = await work(context);
      stored = worked.stored;
      return worked;
    };
    let landing: Answer | undefined;
    try {
      for (let pollMs = pollMsMin; ; pollMs = Math.min(pollMs * 1.5, pollMsMax)) {
        const outcome = await runner.attempt(request, workSeen);
        if (outcome.kind === "replayed") landing = outcome.answer;
        if (outcome.kind === "executed") landing = stored;
        const leftMs = deadlineAt - clock.monotonic();
        if (outcome.kind !== "in_flight" || leftMs <= 0 || signal?.aborted === true) return outcome;
        flight.running.resolve();
        await clock.sleep(Math.min(pollMs, leftMs), signal);
      }
    } finally {
      flights.delete(id);
      flight.running.resolve();
      flight.landed.resolve(landing);
    }
  }
}

/** Waits for a flight: for its answer, or, where nobody wants to wait, until it is known that it is running. */
async function join(
  { landed, running }: Flight,
  { waitMsMax, signal }: WaitForAnswer,
  leftMs: number,
): Promise<Answer | undefined | "in_flight"> {
  if (waitMsMax <= 0) {
    await Promise.race([landed.promise, running.promise]);
    // Landing resolves both: then the answer is there already.
    return Promise.race([landed.promise, inFlight]);
  }
  if (leftMs <= 0 || signal?.aborted === true) return "in_flight";
  const { promise: aborted, resolve: abort } = Promise.withResolvers<void>();
  const onAbort = (): void => abort();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const waiting = Promise.race([landed.promise, aborted]);
    const isSettled = await settledWithin(waiting, leftMs);
    // An answer that is there is given, though the wait was just ended.
    return isSettled ? await Promise.race([landed.promise, inFlight]) : "in_flight";
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}
