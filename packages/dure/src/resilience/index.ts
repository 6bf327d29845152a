export { CallRefusedError, classifyFailure } from "./call-failure.ts";
export type { FailureVerdict } from "./call-failure.ts";
export { paymentPreset, standardPreset } from "./dependency-options.ts";
export type {
  BreakerOptions,
  BulkheadOptions,
  DependencyOptions,
  RetryOptions,
} from "./dependency-options.ts";
export type { BreakerState, DependencySnapshot, ResilienceEvent } from "./resilience-events.ts";
export { createResilience } from "./resilience.ts";
export type { CallContext, CallOptions, Resilience, ResilienceOptions } from "./resilience.ts";
