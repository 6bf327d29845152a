import { isDureError } from "dure";
import type { ServiceTransaction } from "dure";
import { postgresParticipantBarrier } from "dure/postgres";
import type { PoolClient } from "pg";
import type { ServiceDure } from "./messaging.ts";
import { ProblemError } from "./problem.ts";
import type { ProblemCode } from "./problem.ts";
import type { CompensatingCall, StepCall } from "./step-call.ts";

/** What a step came to. Both are for good, are stored, and come again under the same key. */
export type StepAnswer<Body> =
  | { readonly kind: "done"; readonly body: Body }
  | { readonly kind: "refused"; readonly code: ProblemCode; readonly detail: string };

/** An answer, and whether it had been given before. */
export interface Answered<Body> {
  readonly body: Body;
  readonly isReplayed: boolean;
}

/** The transaction of a step: barrier, business rows and events commit together. */
export type StepTransaction = ServiceTransaction<PoolClient>;

/** The callee's half of saga steps that come over HTTP. */
export interface ParticipantSteps {
  /**
   * Executes a step once.
   *
   * @throws ProblemError the refusal that was decided on, now or before; STEP_COMPENSATED when its
   *   compensation came first; IDEMPOTENCY_KEY_REUSED when the key belongs to another request
   */
  forward<Body>(
    call: StepCall,
    execute: (tx: StepTransaction) => Promise<StepAnswer<Body>>,
  ): Promise<Answered<Body>>;
  /**
   * Undoes a step once; `undefined` when there was none, which is remembered. `undo` hears what the
   * step had come to. When it throws, nothing is recorded, and the compensation may come again.
   */
  compensate<Body>(
    call: CompensatingCall,
    undo: (tx: StepTransaction, forward: StepAnswer<unknown>) => Promise<Body>,
  ): Promise<Answered<Body> | undefined>;
}

/** Steps over the barrier in the service's own database. */
export function createParticipantSteps(dure: ServiceDure): ParticipantSteps {
  const barrier = postgresParticipantBarrier();
  return {
    async forward<Body>(
      call: StepCall,
      execute: (tx: StepTransaction) => Promise<StepAnswer<Body>>,
    ): Promise<Answered<Body>> {
      const { key, fingerprint, context } = call;
      const { kind, answer: stored } = await dure
        .transaction(
          (tx) =>
            barrier.forward<Stored<Body>>(tx, { key }, async () => ({
              fingerprint,
              answer: await execute(tx),
            })),
          { context },
        )
        .catch((error: unknown) => {
          if (!isDureError(error, "STEP_COMPENSATED")) throw error;
          throw stepCompensated(error);
        });
      if (stored.fingerprint !== fingerprint) {
        throw new ProblemError("IDEMPOTENCY_KEY_REUSED", "The key belongs to another request.");
      }
      return { body: bodyOf(stored.answer), isReplayed: kind === "replayed" };
    },
    async compensate<Body>(
      call: CompensatingCall,
      undo: (tx: StepTransaction, forward: StepAnswer<unknown>) => Promise<Body>,
    ): Promise<Answered<Body> | undefined> {
      const { key, compensates, context } = call;
      const outcome = await dure.transaction(
        (tx) =>
          barrier.compensate(tx, { key, compensates }, (stored) =>
            // What stands under a step's key was stored by `forward`.
            undo(tx, (stored as Stored<unknown>).answer),
          ),
        { context },
      );
      if (outcome.kind === "nothing-to-undo") return undefined;
      return { body: outcome.answer, isReplayed: outcome.kind === "replayed" };
    },
  };
}

/** The refusal of a step that is undone, or was undone before it came. */
export function stepCompensated(cause?: unknown): ProblemError {
  return new ProblemError("STEP_COMPENSATED", "The step was compensated.", { cause });
}

interface Stored<Body> {
  readonly fingerprint: string;
  readonly answer: StepAnswer<Body>;
}

function bodyOf<Body>(answer: StepAnswer<Body>): Body {
  if (answer.kind === "refused") throw new ProblemError(answer.code, answer.detail);
  return answer.body;
}
