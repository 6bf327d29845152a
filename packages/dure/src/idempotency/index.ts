export { answerFromReply, notStorable, readWithin } from "./answer.ts";
export type { Reply, ReplyLimits } from "./answer.ts";
export { answerOnce } from "./answer-once.ts";
export type { AnswerOnce, AnswerWork, HandlerFacts, IncomingRequest } from "./answer-once.ts";
export { canonicalJson } from "./canonical-json.ts";
export { fingerprintOf } from "./fingerprint.ts";
export type { FingerprintParts } from "./fingerprint.ts";
export {
  keyLengthMax,
  quoteIdempotencyKey,
  readCompensatedKey,
  readIdempotencyKey,
} from "./idempotency-key.ts";
export type { ReadKey } from "./idempotency-key.ts";
export { readIdempotencyOptions, replayedHeadersDefault } from "./idempotency-options.ts";
export type { IdempotencyOptions, IdempotencySettings } from "./idempotency-options.ts";
export { createKeyedRequests } from "./key-flights.ts";
export {
  cartKey,
  checkoutKey,
  clientKey,
  newSagaId,
  requestKey,
  sagaIdOf,
  stepKey,
  windowKey,
} from "./key-policies.ts";
export type { ClientKey, SagaId, StepKey, WindowParts } from "./key-policies.ts";
export { answerOfProblem, keyProblem } from "./key-problem.ts";
export type { KeyProblem, KeyProblemCode } from "./key-problem.ts";
export type {
  Answer,
  IdempotentService,
  KeyedOutcome,
  KeyedRequest,
  KeyedRequests,
  KeyRunner,
  WaitForAnswer,
  Work,
  Worked,
} from "./keyed-request.ts";
export type { KeyClaim, KeyStore, RecordedKey } from "./key-store.ts";
