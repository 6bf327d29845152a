import type { MessageContext } from "../core/message.ts";

/** An answer as it goes over the wire. */
export interface Answer {
  readonly status: number;
  /** Pairs of name (in lower case) and value, in order. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

/** A request that is to be carried out once. */
export interface KeyedRequest {
  /** Whose key it is: the principal. The same key in another scope is another key. */
  readonly scope: string;
  readonly key: string;
  /** What makes it this request: 32 hexadecimal digits, made by {@link fingerprintOf}. */
  readonly fingerprint: string;
  /** For people who look at the record: method and path. */
  readonly route: string;
  /** How long its transaction may take, in milliseconds. */
  readonly leaseMs: number;
  /** How long the answer is kept, in milliseconds. */
  readonly keepMs: number;
  /** What caused the events of its transaction. */
  readonly context?: MessageContext | undefined;
}

/** What the work of a request came to. */
export interface Worked {
  /** For this caller. */
  readonly answer: Answer;
  /** For whoever sends the request again. Undefined: nothing is kept, no write and no answer, and the key is free. */
  readonly stored: Answer | undefined;
  /** Whether the writes and events of the work are kept; of a refusal that is stored they are not. */
  readonly keepsWrites: boolean;
}

/** Carries a request out, with what its store hands to it. */
export type Work<Context> = (context: Context) => Promise<Worked>;

/** What became of a keyed request. */
export type KeyedOutcome =
  /** Carried out now: writes and answer are committed. Of a refusal: the answer alone. */
  | { readonly kind: "executed"; readonly answer: Answer }
  /** Carried out now, and its answer is one that is not stored: nothing was kept, the key is free. */
  | { readonly kind: "undone"; readonly answer: Answer }
  /** Carried out before: the answer of then. */
  | { readonly kind: "replayed"; readonly answer: Answer }
  /** The same request is running. */
  | { readonly kind: "in_flight"; readonly retryAfterMs: number }
  /** The key belongs to another request, running or done. */
  | { readonly kind: "mismatch" };

/**
 * Where keys are kept and requests run: what a store of keys implements. One try, which never waits for
 * another request.
 */
export interface KeyRunner<Context> {
  /**
   * Claims the key and runs the work, or says who has the key. Of a try that rejects nothing was kept.
   * @throws what the work throws: nothing was kept, and the key is free
   */
  attempt(request: KeyedRequest, work: Work<Context>): Promise<KeyedOutcome>;
  /** Runs the work without a key, once per call. */
  unkeyed(work: Work<Context>, options: Pick<KeyedRequest, "leaseMs" | "context">): Promise<Answer>;
}

/** Whether a duplicate waits for the request that is running. */
export interface WaitForAnswer {
  /** How long at most, in milliseconds; 0: not at all. */
  readonly waitMsMax: number;
  /** Ends the wait, not the work. */
  readonly signal?: AbortSignal | undefined;
}

/** Requests that are carried out once, however often they are sent. `dure.idempotency` is one. */
export interface KeyedRequests<Context> {
  /**
   * Carries the request out once per scope and key. Writes, events, saga starts and the answer commit
   * together; a duplicate gets that answer. While the same request runs, here or in another process, a
   * duplicate waits for its answer, and takes its place when it comes to nothing. If the process dies
   * before COMMIT nothing has happened and the key is free within the lease; after it, a repeat is replayed.
   *
   * @throws what the work throws, after its writes are undone; the key is free
   * @throws TRANSACTION_TIMED_OUT when the work took longer than its lease: nothing was committed
   * @throws DATABASE_UNAVAILABLE when there was no connection, or it was lost: nothing was committed
   * @throws COMMIT_IN_DOUBT when the connection was lost during COMMIT and the record could not be read
   *   within the lease: send it again with the same key
   */
  once(request: KeyedRequest, work: Work<Context>, options: WaitForAnswer): Promise<KeyedOutcome>;
  /** Runs the work in a transaction of its own, without a key: what is sent twice is done twice. */
  unkeyed(work: Work<Context>, options: Pick<KeyedRequest, "leaseMs" | "context">): Promise<Answer>;
}

/** What has keyed requests: a service, made by `createDure`, or a store without SQL. */
export interface IdempotentService<Context> {
  readonly idempotency: KeyedRequests<Context>;
}
