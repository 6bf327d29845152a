import { DureError, StepRefusedError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { BarrierStore, StoredRefusal } from "./barrier-store.ts";

/** What became of a forward call. */
export type ForwardOutcome<Answer> = {
  /** `replayed`: it had been done before, this is the answer of then. */
  readonly kind: "executed" | "replayed";
  readonly answer: Answer;
};

/** What became of a refusal. */
export type RefusalOutcome<Answer> =
  /** It is refused, now or before: answer so. */
  | { readonly kind: "refused"; readonly reason: string; readonly message: string }
  /** Another attempt was executed meanwhile: this is its answer, and counts. */
  | { readonly kind: "replayed"; readonly answer: Answer };

/** What became of a compensation. */
export type CompensationOutcome<Answer> =
  | { readonly kind: "executed" | "replayed"; readonly answer: Answer }
  /** The forward call has not come, and will be refused when it does. */
  | { readonly kind: "nothing-to-undo" };

/**
 * The callee's half of a saga step: a call that is repeated is answered again, a compensation that finds
 * nothing to undo succeeds and is remembered, and a first execution that comes after its compensation, or after
 * the step was refused, is refused. All of it in the participant's own business transaction; if that rolls back or the process
 * dies, nothing was recorded either.
 *
 * Answers are stored as JSON and given back as such.
 */
export interface ParticipantBarrier {
  /**
   * @throws STEP_COMPENSATED when the step was compensated before it was executed, or after
   * @throws STEP_REFUSED ({@link StepRefusedError}) when {@link ParticipantBarrier.refuse} came first
   * @throws NOT_IN_TRANSACTION when the handle is not inside a transaction: nothing was recorded or executed
   */
  forward<Answer>(
    tx: TransactionHandle,
    call: { readonly key: string },
    execute: () => Promise<Answer>,
  ): Promise<ForwardOutcome<Answer>>;
  /**
   * Remembers that a step was refused for good, before that is answered: a late first attempt of the same call is
   * refused as well, where it might succeed now. A pivot needs that, for nothing compensates it. In a
   * transaction of its own, after the one that `execute` threw in was rolled back; if the process dies between the
   * two, nobody was told, and the call comes again. Answer what it comes to: the call may have been executed
   * meanwhile.
   * @throws STEP_COMPENSATED when the step was compensated
   * @throws NOT_IN_TRANSACTION
   */
  refuse<Answer>(
    tx: TransactionHandle,
    call: { readonly key: string; readonly reason: string; readonly message: string },
  ): Promise<RefusalOutcome<Answer>>;
  compensate<Answer>(
    tx: TransactionHandle,
    call: { readonly key: string; readonly compensates: string },
    undo: (forwardAnswer: unknown) => Promise<Answer>,
  ): Promise<CompensationOutcome<Answer>>;
}

/** Makes a barrier over its store. `dure/postgres` has {@link postgresParticipantBarrier}. */
export function createParticipantBarrier(store: BarrierStore): ParticipantBarrier {
  return {
    async forward<Answer>(
      tx: TransactionHandle,
      { key }: { readonly key: string },
      execute: () => Promise<Answer>,
    ): Promise<ForwardOutcome<Answer>> {
      const known = await store.beginForward(tx, key);
      if (known?.state === "compensated") throw compensated(key);
      if (known?.state === "refused") {
        const { reason, message } = known.answer as StoredRefusal;
        throw new StepRefusedError(reason, message);
      }
      if (known !== undefined) return { kind: "replayed", answer: known.answer as Answer };
      const answer = await execute();
      await store.recordAnswer(tx, key, answer);
      return { kind: "executed", answer };
    },
    async refuse<Answer>(
      tx: TransactionHandle,
      call: { readonly key: string; readonly reason: string; readonly message: string },
    ): Promise<RefusalOutcome<Answer>> {
      const { key, reason, message } = call;
      const known = await store.beginRefusal(tx, key, { reason, message });
      if (known === undefined) return { kind: "refused", reason, message };
      if (known.state === "compensated") throw compensated(key);
      if (known.state === "done") return { kind: "replayed", answer: known.answer as Answer };
      return { kind: "refused", ...(known.answer as StoredRefusal) };
    },
    async compensate<Answer>(
      tx: TransactionHandle,
      { key, compensates }: { readonly key: string; readonly compensates: string },
      undo: (forwardAnswer: unknown) => Promise<Answer>,
    ): Promise<CompensationOutcome<Answer>> {
      const known = await store.beginCompensation(tx, compensates, key);
      // What was refused stays so: it did not happen, and will not.
      if (known === undefined || known.state === "refused") return { kind: "nothing-to-undo" };
      if (known.state === "compensated") {
        return known.answer === undefined
          ? { kind: "nothing-to-undo" }
          : { kind: "replayed", answer: known.compensationAnswer as Answer };
      }
      const answer = await undo(known.answer);
      await store.recordCompensationAnswer(tx, compensates, answer);
      return { kind: "executed", answer };
    },
  };
}

function compensated(key: string): DureError {
  return new DureError(
    "STEP_COMPENSATED",
    `step ${key} was compensated: it is refused, and was not executed now`,
  );
}
