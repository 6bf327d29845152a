import type { CompensationCall, RetryPolicy, SagaReason, StepCall } from "dure";
import type { Pool } from "pg";
import type { CancelReason, OrderStage } from "../contracts/http/orders.ts";
import type { CardToken } from "../contracts/http/provider.ts";
import type { StepOwner } from "../contracts/http/step.ts";
import { cancelReasonOf, stagesBefore } from "./domain.ts";
import * as sql from "./checkout-sql.ts";
import type { LockedOrder, OrderTransaction } from "./order-moves.ts";
import type { AskParticipant } from "./step-calls.ts";

/** What a checkout is started with. The lines stay in the order: a saga's input is small. */
export interface CheckoutInput {
  readonly orderId: string;
  readonly userId: string;
  readonly amount: number;
  readonly token: CardToken;
}

/** What the steps work with. */
export interface CheckoutParts {
  readonly pool: Pool;
  readonly ask: AskParticipant;
  /** In the transaction that completes an order: somebody may have wanted it canceled meanwhile. */
  readonly onCompleted: (tx: OrderTransaction, order: LockedOrder) => Promise<void>;
}

/** What a step is handed. */
export interface Step {
  readonly input: CheckoutInput;
  readonly call: StepCall;
}

/** What undoes a step is handed. */
export interface Undoing {
  readonly input: CheckoutInput;
  readonly call: CompensationCall;
  readonly reason: SagaReason;
}

/** A step at a participant that only goes forward. */
export interface ForwardStep {
  readonly action: string;
  readonly timeoutMs: number;
  readonly retry?: RetryPolicy;
  readonly run: (step: Step) => Promise<void>;
}

/** A step at a participant that can be undone. */
export interface UndoableStep extends ForwardStep {
  readonly compensationAction: string;
  readonly compensate: (step: Undoing) => Promise<void>;
}

/** One attempt at payment may take 12 seconds: it waits in the provider's line. */
export const timeoutMs = 20_000;

/** While a participant does not answer, or throttles, for a minute or more: then it is undone. */
export const patient: RetryPolicy = { attempts: 30, baseMs: 100, maxMs: 5_000 };

/** There is no way back: it goes on over a deployment, and is parked after some ten minutes. */
export const stubborn: RetryPolicy = { attempts: 60, baseMs: 100, maxMs: 20_000 };

/** Whose step it is, for the participant. */
export function ownerOf({ input, call }: Step): StepOwner {
  return { orderId: input.orderId, sagaId: call.sagaId };
}

/** Writes down how far the order has come; what a repeated attempt writes again changes nothing. */
export async function advance(pool: Pool, { input }: Step, stage: OrderStage): Promise<void> {
  await pool.query(sql.advanceOrder, [input.orderId, stage, stagesBefore(stage)]);
}

/** What a call that undoes says. */
export interface UndoQuestion {
  readonly body: StepOwner & { readonly reason: CancelReason };
  readonly call: CompensationCall;
  readonly compensates: string;
}

/** Shows on the order that it is being undone, before anything is. */
export async function beginUndoing(
  pool: Pool,
  { input, call, reason }: Undoing,
): Promise<UndoQuestion> {
  const why = cancelReasonOf(reason);
  await pool.query(sql.beginCanceling, [input.orderId, why]);
  const body = { orderId: input.orderId, sagaId: call.sagaId, reason: why };
  return { body, call, compensates: call.compensates };
}

/** Where the participant's code is the customer's reason too. */
export function sameWord(
  ...codes: readonly CancelReason[]
): Readonly<Record<string, CancelReason>> {
  return Object.fromEntries(codes.map((code) => [code, code]));
}
