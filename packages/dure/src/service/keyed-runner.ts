import type { Clock } from "../core/clock.ts";
import { DureError, isDureError } from "../core/errors.ts";
import type { MessageContext } from "../core/message.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { Statement, TransactionHandle } from "../core/transaction.ts";
import { createKeyedRequests } from "../idempotency/key-flights.ts";
import type {
  Answer,
  KeyedOutcome,
  KeyedRequest,
  KeyedRequests,
  KeyRunner,
  Work,
  Worked,
} from "../idempotency/keyed-request.ts";
import type { KeyStore } from "../idempotency/key-store.ts";
import type { TransactionParts } from "./service-transaction.ts";

/** What the work of a keyed request is given. */
export interface KeyedTransaction<Client> {
  /** The transaction of key, writes, events, saga starts and answer. */
  readonly tx: ServiceTransaction<Client>;
  /** Aborts when the lease is over: nothing of the request will be committed. */
  readonly signal: AbortSignal;
}

/** What the runner needs of the service. */
export interface KeyedRunnerParts<Client> {
  readonly store: KeyStore;
  readonly clock: Clock;
  readonly run: <Result>(
    work: TransactionParts<Client, Result>["work"],
    context: () => MessageContext | undefined,
    more: Pick<TransactionParts<Client, Result>, "last" | "options" | "isUndone">,
  ) => Promise<Result>;
}

interface Attempt {
  readonly outcome: KeyedOutcome;
  /** What the work came to, where it is kept. */
  readonly worked?: Worked;
}

/** Carried through the transaction's rollback. */
class Undone extends Error {
  readonly answer: Answer;

  constructor(answer: Answer) {
    super("the answer is not one that is kept");
    this.answer = answer;
  }
}

/** Thrown by a look at the key that found it free. */
class KeyIsFree extends Error {}

/** Keys whose answers this process has given: a repeat of one needs no transaction. Some 2 MB, 13 at most. */
const answeredMax = 10_000;
const lookMsMin = 20;
const lookMsMax = 500;

/** Keyed requests in transactions of the service: key, writes, events and answer commit together. */
export function wireKeys<Client>(
  parts: KeyedRunnerParts<Client>,
): KeyedRequests<KeyedTransaction<Client>> {
  return createKeyedRequests(createKeyedRunner(parts), parts.clock);
}

function createKeyedRunner<Client>(
  parts: KeyedRunnerParts<Client>,
): KeyRunner<KeyedTransaction<Client>> {
  const answered = new Set<string>();
  return {
    async attempt(request, work) {
      const id = JSON.stringify([request.scope, request.key]);
      if (answered.has(id)) {
        // Likely there, and then one statement is enough. When it is not, its time is over: it is a request like any.
        const found = await parts.store.look(request);
        if (found !== undefined) return found;
        answered.delete(id);
      }
      try {
        const outcome = await attempt(parts, request, work);
        if (outcome.kind === "executed" || outcome.kind === "replayed") remember(answered, id);
        return outcome;
      } catch (error) {
        if (error instanceof Undone) return { kind: "undone", answer: error.answer };
        if (!isDureError(error, "COMMIT_IN_DOUBT")) throw error;
        return resolveDoubt(parts, request, error);
      }
    },
    async unkeyed(work, { leaseMs, context }) {
      try {
        const worked = await parts.run(
          async (tx) => {
            const done = await workWithin(tx, leaseMs, work);
            if (!done.keepsWrites) throw new Undone(done.answer);
            return done;
          },
          () => context,
          { options: { msMax: leaseMs } },
        );
        return worked.answer;
      } catch (error) {
        if (error instanceof Undone) return error.answer;
        throw error;
      }
    },
  };
}

function remember(answered: Set<string>, id: string): void {
  for (const oldest of answered) {
    if (answered.size < answeredMax) break;
    answered.delete(oldest);
  }
  answered.add(id);
}

async function attempt<Client>(
  { store, run }: KeyedRunnerParts<Client>,
  request: KeyedRequest,
  work: Work<KeyedTransaction<Client>>,
): Promise<KeyedOutcome> {
  const { leaseMs, context } = request;
  const { outcome } = await run<Attempt>(
    async (tx, raw, opened) => {
      const claim = store.readClaim(opened);
      if (claim.kind === "in_flight") {
        return { outcome: { kind: "in_flight", retryAfterMs: 1_000 } };
      }
      if (claim.kind === "mismatch") return { outcome: { kind: "mismatch" } };
      if (claim.kind === "replayed") return { outcome: claim };
      const done = await workWithin(tx, leaseMs, work);
      if (done.stored === undefined) throw new Undone(done.answer);
      if (!done.keepsWrites) await undo(raw, store);
      return { outcome: { kind: "executed", answer: done.answer }, worked: done };
    },
    () => context,
    {
      options: { msMax: leaseMs, opening: store.claim(request) },
      isUndone: (result) => result.worked?.keepsWrites === false,
      last: async (result) => keep(store, request, result.worked?.stored),
    },
  );
  return outcome;
}

async function workWithin<Client>(
  tx: ServiceTransaction<Client>,
  leaseMs: number,
  work: Work<KeyedTransaction<Client>>,
): Promise<Worked> {
  const over = new AbortController();
  const timer = setTimeout(() => {
    over.abort(new DureError("TRANSACTION_TIMED_OUT", `the lease of ${leaseMs} ms is over`));
  }, leaseMs);
  try {
    return await work({ tx, signal: over.signal });
  } finally {
    clearTimeout(timer);
  }
}

/** Also mends a transaction in which a statement has failed: the refusal may be about that very failure. */
async function undo(raw: TransactionHandle, store: KeyStore): Promise<void> {
  await raw.query(store.undoText);
}

function keep(
  store: KeyStore,
  request: KeyedRequest,
  stored: Answer | undefined,
): readonly Statement[] {
  return stored === undefined ? [] : [store.keepStatement(request, stored)];
}

/**
 * Finds out what became of a COMMIT whose answer was lost: by the record, and never by running the work again.
 * While the transaction may still commit, its locks say so.
 */
async function resolveDoubt<Client>(
  parts: KeyedRunnerParts<Client>,
  request: KeyedRequest,
  doubt: DureError,
): Promise<KeyedOutcome> {
  const { clock } = parts;
  const deadlineAt = clock.monotonic() + request.leaseMs;
  for (let waitMs = lookMsMin; ; waitMs = Math.min(waitMs * 2, lookMsMax)) {
    const found = await look(parts, request);
    if (found === "free") {
      throw new DureError(
        "DATABASE_UNAVAILABLE",
        "the connection was lost at COMMIT, and nothing was committed: the key is free",
        { cause: doubt },
      );
    }
    if (found !== "unknown") return found;
    if (clock.monotonic() >= deadlineAt) throw doubt;
    await clock.sleep(waitMs);
  }
}

async function look<Client>(
  parts: KeyedRunnerParts<Client>,
  request: KeyedRequest,
): Promise<KeyedOutcome | "free" | "unknown"> {
  try {
    const found = await attempt(parts, request, () => Promise.reject(new KeyIsFree()));
    return found.kind === "in_flight" ? "unknown" : found;
  } catch (error) {
    if (error instanceof KeyIsFree) return "free";
    const isPassing =
      isDureError(error, "DATABASE_UNAVAILABLE") || isDureError(error, "COMMIT_IN_DOUBT");
    if (isPassing || isDureError(error, "TRANSACTION_TIMED_OUT")) return "unknown";
    throw error;
  }
}
