import type { RetryPolicy } from "../core/backoff.ts";
import type { AnyEventDefinition, EventToWrite } from "../core/event.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { StandardSchema } from "../core/standard-schema.ts";
import type { Statement } from "../core/transaction.ts";
import type { SagaReason } from "./saga-event.ts";

/** What a step is told of the call that it is to make. */
export interface StepCall {
  readonly sagaId: string;
  readonly step: string;
  /** From 1. */
  readonly attempt: number;
  /** The idempotency key to send: the same for every attempt, whichever process makes it. */
  readonly key: string;
  /** Grows with every call of the saga: a callee may refuse one that is lower than one it has seen. */
  readonly fencingToken: number;
  readonly traceparent?: string | undefined;
  /** Aborts at the step's timeout, when the saga belongs to another process, and when this one stops. */
  readonly signal: AbortSignal;
}

/** As {@link StepCall}, for what undoes a step. */
export interface CompensationCall extends StepCall {
  /** The key of the forward call that is undone; it may never have arrived. */
  readonly compensates: string;
}

/** What all code of a definition is handed. Frozen: a definition never changes its input. */
export interface SagaContext {
  readonly input: unknown;
  /** By step; only steps that are done. */
  readonly results: Readonly<Record<string, unknown>>;
}

/** What a step's code is handed. */
export interface StepContext extends SagaContext {
  readonly call: StepCall;
}

/** What a compensation's code is handed. */
export interface CompensationContext extends SagaContext {
  readonly call: CompensationCall;
  /** What the step came to; undefined where that is not known, or was nothing. */
  readonly result: unknown;
  /** Why the saga is undone. */
  readonly reason: SagaReason;
}

/** What a step by message counts as an answer to its command. */
export interface ReplyPlan {
  readonly definition: AnyEventDefinition;
  /** `done`: the data is the step's result. `refused`: it did not happen, and will not. */
  readonly outcome: "done" | "refused";
  /** Why, in a word of the domain: the saga's reason. */
  readonly reason?: (data: unknown) => string;
}

/** How a step, or its compensation, is carried out. */
export type StepAction<Context extends StepContext | CompensationContext> =
  /** Code that may talk to the network. Its outcome is unknown until it has answered. */
  | { readonly kind: "run"; readonly run: (context: Context) => Promise<unknown> }
  /** Code in a transaction of this service's database: it commits together with the journal record. */
  | {
      readonly kind: "local";
      readonly run: (context: Context & { readonly tx: ServiceTransaction }) => Promise<unknown>;
    }
  /** One statement, which commits together with the journal record in one round trip. Its result is nothing. */
  | { readonly kind: "statement"; readonly statement: (context: Context) => Statement }
  /** A command by the outbox, which commits together with the intent; its answer comes by the inbox. */
  | {
      readonly kind: "message";
      readonly command: (context: Context) => EventToWrite;
      readonly replies: readonly ReplyPlan[];
    };

/** How a step is undone. */
export interface CompensationPlan {
  /** The idempotency key is the saga's id, a dash, and this. */
  readonly keySuffix: string;
  readonly action: StepAction<CompensationContext>;
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  /** Steps whose compensation must not have failed for this one to run. */
  readonly needs: readonly string[];
}

/** One step of a definition. */
export interface StepPlan {
  readonly name: string;
  /** Until it is done everything can be undone; from then on the saga only goes forward. */
  readonly isPivot: boolean;
  /** The idempotency key is the saga's id, a dash, and this. */
  readonly keySuffix: string;
  readonly action: StepAction<StepContext>;
  readonly timeoutMs: number;
  /** `attempts` of a pivot may be Infinity: it is asked by key until its outcome is known. */
  readonly retry: RetryPolicy;
  readonly compensation: CompensationPlan | undefined;
  /** It changes nothing anywhere, so that nothing is missing where it has no compensation. */
  readonly isReadOnly: boolean;
}

/** One place of a definition. Names are unique in the whole definition, also of groups and branches. */
export type PlanNode =
  | { readonly kind: "step"; readonly step: StepPlan }
  /** Begun together; what follows begins when all are done. Compensated when all have settled, the last declared first. */
  | { readonly kind: "parallel"; readonly name: string; readonly steps: readonly StepPlan[] }
  /** Chosen once, and written to the journal. No pivot inside. */
  | {
      readonly kind: "branch";
      readonly name: string;
      readonly choose: (context: SagaContext) => string;
      readonly cases: Readonly<Record<string, readonly PlanNode[]>>;
    };

/** A saga definition whose types do not matter here: every {@link SagaDefinition} is one. Data, and knows no engine. */
export interface AnySagaDefinition {
  readonly name: string;
  /** From 1. Versions of one name run side by side. */
  readonly version: number;
  readonly schema: StandardSchema<unknown, unknown>;
  readonly nodes: readonly PlanNode[];
  /** From when on before its pivot a saga is compensated, in milliseconds after its start. */
  readonly deadlineMs: number | undefined;
  /** What the saga is about (an order's id), to be found by. */
  readonly businessKey: ((input: never) => string) | undefined;
  readonly output: (context: SagaContext) => unknown;
}

/**
 * A saga as a value: what it takes, its steps, and what it comes to. Made by {@link saga}.
 *
 * `Client` is what its local steps expect of `tx.client`; a definition fits a service of that client, and one
 * that expects nothing fits any. `never` stands for whichever.
 */
export interface SagaDefinition<
  Input = unknown,
  Output = unknown,
  Client = never,
> extends AnySagaDefinition {
  readonly schema: StandardSchema<Input, unknown>;
  readonly output: (context: SagaContext) => Output;
  /** Exists in types only. */
  readonly clientType?: (client: Client) => void;
}

/** What a saga of this definition is started with. */
export type SagaInput<Definition> =
  Definition extends SagaDefinition<infer Input, infer _Output> ? Input : never;

/** What a completed saga of this definition comes to. */
export type SagaOutput<Definition> =
  Definition extends SagaDefinition<infer _Input, infer Output> ? Output : never;
