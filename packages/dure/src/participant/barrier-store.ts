import type { TransactionHandle } from "../core/transaction.ts";

/** What is known of a forward key. */
export interface ParticipantAction {
  readonly state: "done" | "compensated" | "refused";
  /** Of a refused one: why, as {@link StoredRefusal}. */
  readonly answer: unknown;
  readonly compensationKey: string | undefined;
  readonly compensationAnswer: unknown;
}

/** Why a step was refused. */
export interface StoredRefusal {
  readonly reason: string;
  readonly message: string;
}

/**
 * The barrier's rows. All `begin…` calls claim the forward key's row in the caller's transaction; a rival
 * waits until that transaction has ended, and then sees what it left.
 */
export interface BarrierStore {
  /** Undefined: nothing was known, the key is now `done` and ours. Otherwise what was known. */
  beginForward(tx: TransactionHandle, forwardKey: string): Promise<ParticipantAction | undefined>;
  /** Marks the forward key compensated. Undefined: nothing was known of it before. */
  beginCompensation(
    tx: TransactionHandle,
    forwardKey: string,
    compensationKey: string,
  ): Promise<ParticipantAction | undefined>;
  /** Marks a forward key of which nothing was known as refused. Undefined: it is now. Otherwise what was known. */
  beginRefusal(
    tx: TransactionHandle,
    forwardKey: string,
    refusal: StoredRefusal,
  ): Promise<ParticipantAction | undefined>;
  recordAnswer(tx: TransactionHandle, forwardKey: string, answer: unknown): Promise<void>;
  recordCompensationAnswer(
    tx: TransactionHandle,
    forwardKey: string,
    answer: unknown,
  ): Promise<void>;
}
