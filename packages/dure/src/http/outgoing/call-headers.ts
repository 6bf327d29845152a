import { PermanentError } from "../../core/errors.ts";
import { keyLengthMax, quoteIdempotencyKey } from "../../idempotency/idempotency-key.ts";

/** What a call of a saga says of itself. The `call` of a step, and of a compensation, is one. */
export interface CallFacts {
  readonly key: string;
  /** The forward key that is undone. */
  readonly compensates?: string | undefined;
  readonly sagaId?: string | undefined;
  readonly fencingToken?: number | undefined;
  readonly traceparent?: string | undefined;
}

/** The names of the headers by which a call says what it is, in lower case. */
export const callHeaderNames: {
  readonly key: "idempotency-key";
  readonly compensates: "compensates";
  readonly sagaId: "saga-id";
  readonly fencingToken: "fencing-token";
  readonly traceparent: "traceparent";
} = {
  key: "idempotency-key",
  compensates: "compensates",
  sagaId: "saga-id",
  fencingToken: "fencing-token",
  traceparent: "traceparent",
};

/**
 * The headers of a call, for whatever sends it: `idempotency-key` and, of a call that undoes another, `compensates`,
 * both as structured-field strings; `saga-id`; `fencing-token` as digits; `traceparent` as W3C Trace Context writes it.
 *
 * @throws PERMANENT when a key is empty, longer than 255 characters or not printable ASCII: nothing was sent
 */
export function callHeaders(call: CallFacts): Record<string, string> {
  const { key, compensates, sagaId, fencingToken, traceparent } = call;
  const names = callHeaderNames;
  return {
    [names.key]: quoted(key),
    // A step's own call carries its own key in both; only a compensation's are two.
    ...(compensates !== undefined &&
      compensates !== key && { [names.compensates]: quoted(compensates) }),
    ...(sagaId !== undefined && { [names.sagaId]: sagaId }),
    ...(fencingToken !== undefined && { [names.fencingToken]: String(fencingToken) }),
    ...(traceparent !== undefined && { [names.traceparent]: traceparent }),
  };
}

function quoted(key: string): string {
  if (/^[\x20-\x7e]+$/.test(key) && key.length <= keyLengthMax) return quoteIdempotencyKey(key);
  throw new PermanentError(
    `a call was not sent: its key has ${key.length} characters, and must have 1 to ${keyLengthMax} of printable ASCII`,
  );
}
