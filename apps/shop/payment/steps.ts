import type { Permit } from "dure";
import { createParticipantSteps, stepCompensated } from "../chassis/participant-steps.ts";
import type { Answered, StepAnswer, StepTransaction } from "../chassis/participant-steps.ts";
import { ProblemError, problemKinds } from "../chassis/problem.ts";
import type { ProblemCode } from "../chassis/problem.ts";
import type { CompensatingCall, StepCall } from "../chassis/step-call.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import type {
  MoneyMoved,
  MoneyUndone,
  PayWithCard,
  RefundPayment,
  UndoPayment,
} from "../contracts/http/payment-steps.ts";
import type { StepOwner } from "../contracts/http/step.ts";
import type { ProviderPermits } from "./provider-permits.ts";
import { beginCapture, beginCardPayment, beginRefund, beginUndo } from "./step-intents.ts";
import type { BegunStep } from "./step-intents.ts";
import type { StepOperation } from "./step-operation.ts";
import type { StepRecord } from "./step-record.ts";
import type { StepSettler } from "./step-settler.ts";

/**
 * Payment's steps: the intent commits first, the provider is asked outside any transaction, a second
 * transaction records the result. All throw ProblemError:
 *
 * - PROVIDER_THROTTLED: no permit in time; a forward step was not begun, an undoing one goes on;
 * - OUTCOME_UNKNOWN: begun, and not settled; the service goes on by itself, the same key asks again;
 * - a 4xx code: for good.
 */
export interface PaymentSteps {
  authorize(call: StepCall, body: PayWithCard): Promise<Answered<MoneyMoved>>;
  charge(call: StepCall, body: PayWithCard): Promise<Answered<MoneyMoved>>;
  capture(call: StepCall, body: StepOwner): Promise<Answered<MoneyMoved>>;
  refund(call: StepCall, body: RefundPayment): Promise<Answered<MoneyMoved>>;
  /** Undoes `authorize`, and answers only when it is certain that no money is held. */
  void(call: CompensatingCall, body: UndoPayment): Promise<Answered<MoneyUndone>>;
  /** Undoes `charge`, and answers only when it is certain that no money is kept. */
  refundCharge(call: CompensatingCall, body: UndoPayment): Promise<Answered<MoneyUndone>>;
}

/** What {@link createPaymentSteps} takes. */
export interface PaymentStepsOptions {
  readonly dure: ServiceDure;
  readonly record: StepRecord;
  readonly settler: StepSettler;
  readonly permits: ProviderPermits;
}

const retryAfterMs = 1_000;

/** The steps over the service's own database and the provider. */
export function createPaymentSteps(options: PaymentStepsOptions): PaymentSteps {
  const { dure, record, settler, permits } = options;
  const steps = createParticipantSteps(dure);

  async function forward(
    call: StepCall,
    begin: (tx: StepTransaction) => Promise<StepAnswer<BegunStep>>,
  ): Promise<Answered<MoneyMoved>> {
    // Before the intent: "no permit" must mean that nothing was begun.
    const isNew = (await record.read(call.key)) === undefined;
    await using permit = isNew ? await permits.take() : undefined;
    if (isNew && permit === undefined) throw throttled();
    const { body, isReplayed } = await steps.forward(call, begin);
    const { operationKey } = body;
    return { body: movedBy(await finish(operationKey, permit, unknownOutcome)), isReplayed };
  }

  async function undo(
    kind: "authorize" | "charge",
    call: CompensatingCall,
    body: UndoPayment,
  ): Promise<Answered<MoneyUndone>> {
    const begun = await steps.compensate(call, async (tx, { kind: outcome }) => {
      const step = outcome === "refused" ? undefined : await beginUndo(tx, kind, call, body);
      return { operationKey: step?.operationKey ?? null };
    });
    const isReplayed = begun?.isReplayed ?? false;
    const operationKey = begun?.body.operationKey ?? null;
    if (operationKey === null) return { body: nothingToUndo, isReplayed };
    return { body: undoneBy(await finish(operationKey, undefined, throttled)), isReplayed };
  }

  /** Brings a begun operation to its end, or says that it is not there yet. */
  async function finish(
    key: string,
    given: Permit | undefined,
    withoutPermit: () => ProblemError,
  ): Promise<StepOperation> {
    const operation = await record.read(key);
    if (operation === undefined) throw new Error(`${key} was begun and is gone`);
    if (operation.state !== "PENDING") return operation;
    // One that was given is given back by whoever took it, too: twice is once.
    await using permit = given ?? (await permits.take());
    if (permit === undefined) {
      await settler.leave(operation);
      throw withoutPermit();
    }
    const settled = await settler.settle(operation, permit);
    if (settled.state === "PENDING") throw unknownOutcome();
    return settled;
  }

  return {
    authorize: (call, body) => forward(call, (tx) => beginCardPayment(tx, "authorize", call, body)),
    charge: (call, body) => forward(call, (tx) => beginCardPayment(tx, "charge", call, body)),
    capture: (call, body) => forward(call, (tx) => beginCapture(tx, call, body)),
    refund: (call, body) => forward(call, (tx) => beginRefund(tx, call, body)),
    void: (call, body) => undo("authorize", call, body),
    refundCharge: (call, body) => undo("charge", call, body),
  };
}

const nothingToUndo: MoneyUndone = { outcome: "nothing-to-undo", amount: 0 };

const doneAs = {
  authorize: "AUTHORIZED",
  capture: "CAPTURED",
  charge: "CHARGED",
  refund: "REFUNDED",
} as const;

function movedBy({ kind, state, moved, transactionId, reason }: StepOperation): MoneyMoved {
  if (state === "DECLINED") throw refusal(reason);
  if (state !== "APPROVED" || kind === "void") throw stepCompensated();
  return { status: doneAs[kind], amount: moved ?? 0, transactionId: transactionId ?? "" };
}

function undoneBy({ moved = 0 }: StepOperation): MoneyUndone {
  return moved > 0 ? { outcome: "undone", amount: moved } : nothingToUndo;
}

function refusal(reason: string | undefined): ProblemError {
  const code = isProblemCode(reason) ? reason : "PAYMENT_DECLINED";
  return new ProblemError(code, "The payment provider refuses for good.");
}

function isProblemCode(reason: string | undefined): reason is ProblemCode {
  return reason !== undefined && Object.hasOwn(problemKinds, reason);
}

function throttled(): ProblemError {
  const detail = "Too many requests wait for the payment provider.";
  return new ProblemError("PROVIDER_THROTTLED", detail, { retryAfterMs });
}

function unknownOutcome(): ProblemError {
  const detail = "The payment provider has not settled it; ask again with the same key.";
  return new ProblemError("OUTCOME_UNKNOWN", detail, { retryAfterMs });
}
