import type {
  CardToken,
  DeclineReason,
  ProviderAnswer,
  ProviderOperation,
} from "../contracts/http/provider.ts";
import type { ProblemCode } from "../chassis/problem.ts";

/** One request for an operation, whatever its kind. */
export interface OperationRequest {
  readonly key: string;
  readonly kind: ProviderOperation;
  readonly orderId: string;
  /** Undefined for a void, which lets go of whatever is held. */
  readonly amount?: number;
  /** For authorize and charge. */
  readonly token?: CardToken;
  /** For capture its authorization; for void and refund what they undo. */
  readonly forwardKey?: string;
  /** Equal for equal requests only. */
  readonly fingerprint: string;
}

/** An operation that happened. */
export interface RecordedOperation {
  readonly kind: ProviderOperation;
  readonly orderId: string;
  readonly fingerprint: string;
  readonly answer: ProviderAnswer;
}

/** All that the decision depends on, read under the locks of both keys. */
export interface OperationHistory {
  /** What happened under the request's own key. */
  readonly own: RecordedOperation | undefined;
  readonly isOwnCompensated: boolean;
  /** What happened under the key that it refers to. */
  readonly forward: RecordedOperation | undefined;
  readonly isForwardCompensated: boolean;
  /** What captures took from the forward operation. */
  readonly captured: number;
  /** What refunds gave back from the forward operation. */
  readonly refunded: number;
}

/** What to do with a request: answer as before, refuse and keep nothing, or do it and keep it. */
export type Decision =
  | { readonly kind: "replay"; readonly answer: ProviderAnswer }
  | { readonly kind: "refuse"; readonly code: ProblemCode; readonly detail: string }
  | {
      readonly kind: "record";
      readonly amount: number;
      readonly reason: DeclineReason | undefined;
      /** Whether the forward key is undone in full now, and its late original to be refused. */
      readonly compensatesForward: boolean;
    };

/** Decides a request from its history. Pure: the same history, the same decision. */
export function decide(request: OperationRequest, history: OperationHistory): Decision {
  const { own } = history;
  if (own !== undefined && own.fingerprint !== request.fingerprint) {
    return refuse("IDEMPOTENCY_KEY_REUSED", "The key belongs to another request.");
  }
  // Before the replay: who hears "approved" would believe in money that is gone again.
  if (history.isOwnCompensated) {
    return refuse("STEP_COMPENSATED", "The operation was undone, or refused in advance.");
  }
  if (own !== undefined) return { kind: "replay", answer: own.answer };
  const mismatch = mismatchOf(request, history.forward);
  if (mismatch !== undefined) return refuse("VALIDATION_FAILED", mismatch);
  switch (request.kind) {
    case "authorize":
    case "charge":
      return decidePayment(request);
    case "capture":
      return decideCapture(request, history);
    case "void":
      return decideVoid(history);
    case "refund":
      return decideRefund(request, history);
  }
}

function decidePayment(request: OperationRequest): Decision {
  const reason = request.token === undefined ? undefined : declineReasons[request.token];
  return record(reason === undefined ? amountOf(request) : 0, { reason });
}

/** `tok_timeout` is a card that works and a provider that answers late. */
const declineReasons: Readonly<Record<CardToken, DeclineReason | undefined>> = {
  tok_visa: undefined,
  tok_timeout: undefined,
  tok_declined: "PAYMENT_DECLINED",
  tok_insufficient: "INSUFFICIENT_FUNDS",
};

function decideCapture(request: OperationRequest, history: OperationHistory): Decision {
  const { forward } = history;
  if (history.isForwardCompensated) {
    return refuse("STEP_COMPENSATED", "The authorization is void.");
  }
  if (forward === undefined) return refuse("NOT_FOUND", "There is no such authorization.");
  if (forward.answer.outcome === "declined") {
    return record(0, { reason: forward.answer.reason });
  }
  if (history.captured > 0) {
    return refuse("VERSION_CONFLICT", "The authorization is captured under another key.");
  }
  if (amountOf(request) > forward.answer.amount) {
    return refuse("AMOUNT_TOO_LARGE", "The authorization holds less.");
  }
  return record(amountOf(request));
}

function decideVoid(history: OperationHistory): Decision {
  if (history.captured > 0) {
    return refuse("VERSION_CONFLICT", "The money is captured: refund the capture.");
  }
  const isHeld = history.forward !== undefined && !history.isForwardCompensated;
  return record(isHeld ? history.forward.answer.amount : 0, { compensatesForward: true });
}

function decideRefund(request: OperationRequest, history: OperationHistory): Decision {
  const paid = history.forward?.answer.amount ?? 0;
  // Nothing was ever paid: the refund is done with, and the payment must not come any more.
  if (paid === 0) return record(0, { compensatesForward: true });
  const refunded = history.refunded + amountOf(request);
  if (refunded > paid) {
    return refuse("AMOUNT_TOO_LARGE", "That is more than is left of what was paid.");
  }
  return record(amountOf(request), { compensatesForward: refunded === paid });
}

/** What an operation of each kind may refer to. */
const forwardKinds: Readonly<Record<ProviderOperation, readonly ProviderOperation[]>> = {
  authorize: [],
  charge: [],
  capture: ["authorize"],
  void: ["authorize"],
  refund: ["charge", "capture"],
};

function mismatchOf(
  request: OperationRequest,
  forward: RecordedOperation | undefined,
): string | undefined {
  if (request.key === request.forwardKey) return "An operation cannot refer to itself.";
  if (forward === undefined) return undefined;
  if (forward.orderId !== request.orderId) return "The operations belong to different orders.";
  if (!forwardKinds[request.kind].includes(forward.kind)) {
    return `A ${request.kind} cannot refer to a ${forward.kind}.`;
  }
  return undefined;
}

/** Every kind but void asks for an amount; its schema sees to it. */
function amountOf(request: OperationRequest): number {
  if (request.amount === undefined) throw new Error(`A ${request.kind} without an amount`);
  return request.amount;
}

function refuse(code: ProblemCode, detail: string): Decision {
  return { kind: "refuse", code, detail };
}

function record(
  amount: number,
  extras: { readonly reason?: DeclineReason | undefined; compensatesForward?: boolean } = {},
): Decision {
  const { reason, compensatesForward = false } = extras;
  return { kind: "record", amount, reason, compensatesForward };
}
