import { PermanentError, RetryableError, StepRefusedError } from "dure";
import type { StepCall } from "dure";
import type { PeerClient } from "../chassis/peer-client.ts";
import { PeerError } from "../chassis/peer-error.ts";
import { continueTrace } from "../chassis/trace-context.ts";
import type { StepContract } from "../contracts/http/step.ts";
import type { Peers } from "./peers.ts";

/** The services that take part in sagas. */
export type Participant = "payment" | "inventory" | "delivery";

/** One call of a saga to a participant. */
export interface StepQuestion<Body, Answer> {
  readonly contract: StepContract<Body, Answer>;
  readonly body: Body;
  readonly call: StepCall;
  /** Of a step that makes several calls. @defaultValue the step's own */
  readonly key?: string;
  /** The forward key, of a call that undoes a step. */
  readonly compensates?: string;
  /** Codes that say "it did not happen and will not", with the word for that in the shop. */
  readonly refusals?: Readonly<Record<string, string>>;
}

/**
 * Asks a participant once, with the step's key, unless it is left alone because it has failed too
 * often. When it rejects, the saga decides what follows, and when it is asked again:
 *
 * @throws StepRefusedError for the refusals of the question
 * @throws RetryableError when the participant asks for a pause, or has not answered anybody lately
 * @throws PermanentError when asking again with the same key would bring the same
 * @throws PeerError otherwise: whether it happened is not known
 */
export type AskParticipant = <Body, Answer>(
  participant: Participant,
  question: StepQuestion<Body, Answer>,
) => Promise<Answer>;

/** Calls through the peers' clients, which time out and have a breaker. The saga retries, and nobody else. */
export function createParticipantCaller(peers: Pick<Peers, Participant>): AskParticipant {
  return (participant, question) =>
    ask(peers[participant], question).catch((error: unknown) => fail(error, question.refusals));
}

function ask<Body, Answer>(
  peer: PeerClient,
  { contract, body, call, key = call.key, compensates }: StepQuestion<Body, Answer>,
): Promise<Answer> {
  return peer.ask({
    method: "POST",
    path: contract.path,
    body,
    schema: contract.answer,
    idempotencyKey: key,
    isRepeatedByCaller: true,
    ...(compensates === undefined ? {} : { compensates }),
    step: { sagaId: call.sagaId, fencingToken: call.fencingToken },
    // One id for all that a saga asks for, through all its retries.
    context: {
      requestId: call.sagaId,
      trace: continueTrace(call.traceparent),
      signal: call.signal,
    },
  });
}

/** Answers that a token or a moment later may change. */
const passing: ReadonlySet<number> = new Set([401, 403, 404, 408, 409, 425, 429]);

function fail(error: unknown, refusals: Readonly<Record<string, string>> = {}): never {
  if (!(error instanceof PeerError)) throw error;
  const reason = refusals[error.code];
  if (reason !== undefined && !error.outcomeUnknown) {
    throw new StepRefusedError(reason, error.detail ?? error.message, { cause: error });
  }
  if (error.retryAfterMs !== undefined) {
    const { retryAfterMs } = error;
    throw new RetryableError(error.message, { retryAfterMs, cause: error });
  }
  const { status } = error;
  if (status === undefined || status >= 500 || passing.has(status)) throw error;
  throw new PermanentError(error.message, { cause: error });
}
