export { CallOutcomeUnknownError, errorOfAnswer, readRetryAfter } from "./answer-error.ts";
export type { AnswerError, RefusingAnswer, Refusals } from "./answer-error.ts";
export { callHeaderNames, callHeaders } from "./call-headers.ts";
export type { CallFacts } from "./call-headers.ts";
export { keyedFetch } from "./keyed-fetch.ts";
export type { Caller, KeyedFetchOptions } from "./keyed-fetch.ts";
