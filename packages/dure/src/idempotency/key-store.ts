import type { Opening, Statement } from "../core/transaction.ts";
import type { Answer, KeyedRequest } from "./keyed-request.ts";

/** What an attempt to take a key came to. */
export type KeyClaim = { readonly kind: "claimed" | "in_flight" } | RecordedKey;

/** What stands under a key. */
export type RecordedKey =
  /** The answer that was given to this request. */
  | { readonly kind: "replayed"; readonly answer: Answer }
  /** It is another request's. */
  | { readonly kind: "mismatch" };

/** Keys as rows of the service's own database, written in the transaction of the business. */
export interface KeyStore {
  /**
   * What stands under the key, in one statement outside any transaction; undefined: nothing, or its time is over.
   * @throws DATABASE_UNAVAILABLE when there was no answer within the lease
   */
  look(request: KeyedRequest): Promise<RecordedKey | undefined>;
  /**
   * Claims the key in the transaction that it opens. It also bounds the transaction by the lease, and sets the point
   * that `undoText` goes back to.
   */
  claim(request: KeyedRequest): Opening;
  /** What `claim` answered. */
  readClaim(rows: readonly Readonly<Record<string, unknown>>[]): KeyClaim;
  /** Takes back all writes since the claim, and keeps the claim. */
  readonly undoText: string;
  /** Keeps the answer; fails when the transaction has outlived its lease. */
  keepStatement(request: KeyedRequest, answer: Answer): Statement;
}
