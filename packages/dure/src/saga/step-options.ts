import type { RetryPolicy } from "../core/backoff.ts";
import type { AnyEventDefinition, EventToWrite } from "../core/event.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { StandardSchema } from "../core/standard-schema.ts";
import type { Statement } from "../core/transaction.ts";
import type { CompensationCall, StepCall } from "./saga-definition.ts";
import type { SagaReason } from "./saga-event.ts";
import type { Refused } from "./storable.ts";

/** What a saga's code may read, wherever it stands. Frozen. */
export interface SagaView<Input, Results> {
  /** What the saga was started with, as its schema left it. */
  readonly input: Input;
  /** By the name of the step; only of steps that are done when this code runs. */
  readonly results: Results;
}

/** What the code of a step is handed. */
export interface StepView<Input, Results> extends SagaView<Input, Results> {
  readonly call: StepCall;
}

/** What the code that undoes a step is handed. */
export interface CompensationView<Input, Results, Result> extends SagaView<Input, Results> {
  readonly call: CompensationCall;
  /**
   * What the step came to. Undefined where its outcome is not known: it was called, and no answer came (a
   * timeout, a crash). It may have happened or not, or may happen after this: undo by `call.compensates`, the
   * key of the forward call, and succeed where there is nothing to undo. A step in this service's database
   * committed together with its result, so there it is always known.
   */
  readonly result: Result;
  /** Why the saga is undone: what a step refused or failed with, `TIMED_OUT`, or the reason of who canceled it. */
  readonly reason: SagaReason;
}

/** Beside it, code of a local step gets the transaction that will commit with the journal record. */
export type WithTransaction<View, Client> = View & { readonly tx: ServiceTransaction<Client> };

/** An event by which a participant answers, by the type of its data. */
export interface ReplyDefinition<Data> extends AnyEventDefinition {
  readonly schema: StandardSchema<unknown, Data>;
}

/** Carried out by code that may talk to the network, in no transaction. */
export interface RunAction<View, Result> {
  /** Send `call.key` with what it calls, and end when `call.signal` aborts. */
  readonly run: (view: View) => Promise<Result>;
  readonly local?: never;
  readonly statement?: never;
  readonly send?: never;
  readonly done?: never;
}

/** Carried out by code in a transaction of this service's database, which commits with the journal record. */
export interface LocalAction<View, Client, Result> {
  /** Talk to nothing but the transaction: it is rolled back, and run again, when the process dies before its COMMIT. */
  readonly local: (view: WithTransaction<View, Client>) => Promise<Result>;
  readonly run?: never;
  readonly statement?: never;
  readonly send?: never;
  readonly done?: never;
}

/** Carried out by one SQL statement, in one round trip with the journal record. It has no result. */
export interface StatementAction<View> {
  readonly statement: (view: View) => Statement;
  readonly run?: never;
  readonly local?: never;
  readonly send?: never;
  readonly done?: never;
}

/** Carried out by a command, written to the outbox with the intent; the answer comes by the inbox. */
export interface MessageAction<View, Result> {
  /** The command: `ReserveStock.of({ … })`. */
  readonly send: (view: View) => EventToWrite;
  /** The answer that says it is done; its data is the step's result. */
  readonly done: ReplyDefinition<Result>;
  readonly run?: never;
  readonly local?: never;
  readonly statement?: never;
}

/** The answer that says no: it did not happen, and will not. The saga is then undone. */
export interface Refusal<Data> {
  readonly refused?: ReplyDefinition<Data>;
  /** Why, in a word of the domain. @defaultValue the type of the answer */
  readonly reason?: (data: Data) => string;
}

/** What steps and compensations have in common. */
export interface ActionSettings {
  /** The end of its idempotency key, after the saga's id and a dash. @defaultValue the step's name; of a compensation that and `-compensate` */
  readonly action?: string;
  /** Until when one attempt must have answered, 1 to 86400000. @defaultValue by kind: `sagaDefaults.timeoutMs` */
  readonly timeoutMs?: number;
  /** @defaultValue by place: `sagaDefaults` */
  readonly retry?: Partial<RetryPolicy>;
}

/** What every step takes beside its action. */
export interface StepSettings extends ActionSettings {
  /** It changes nothing anywhere, so it needs no compensation. */
  readonly readOnly?: true;
}

/** How a step is undone, in full. */
export type CompensationOptions<View, Client> = CompensationSettings &
  (
    | RunAction<View, unknown>
    | LocalAction<View, Client, unknown>
    | StatementAction<View>
    | MessageAction<View, unknown>
  );

/** What every compensation takes beside its action. */
export interface CompensationSettings extends ActionSettings {
  /**
   * Steps that are undone before this one because they started later: when one of them could not be undone,
   * this compensation waits for an operator instead of running. @defaultValue none: it runs all the same
   */
  readonly needs?: readonly string[];
}

/** The compensation of a step, where a step may have one. */
export interface Undo<Compensation> {
  readonly compensate?: Compensation;
  /** The `action` of a compensation that is given as a function. */
  readonly compensationAction?: string;
}

/** The same, where none may: of a pivot, and after it. */
export type NoUndo = Undo<Refused<"the pivot and what follows it are never undone">> & {
  readonly compensationAction?: never;
};

type Undone<Input, Results, Client, Result, Short> = Undo<
  Short | CompensationOptions<CompensationView<Input, Results, Result>, Client>
>;

/** A step before the pivot: exactly one of `run`, `local`, `statement` and `send`, and how it is undone. */
export type StepOptions<Input, Results, Client, Result, Refusing> = StepSettings &
  (
    | (RunAction<StepView<Input, Results>, Result> &
        NoRefusal &
        Undone<
          Input,
          Results,
          Client,
          Result | undefined,
          (view: CompensationView<Input, Results, Result | undefined>) => Promise<unknown>
        >)
    | (LocalAction<StepView<Input, Results>, Client, Result> &
        NoRefusal &
        Undone<
          Input,
          Results,
          Client,
          Result,
          (
            view: WithTransaction<CompensationView<Input, Results, Result>, Client>,
          ) => Promise<unknown>
        >)
    | (StatementAction<StepView<Input, Results>> &
        NoRefusal &
        Undone<
          Input,
          Results,
          Client,
          undefined,
          (view: CompensationView<Input, Results, undefined>) => Statement
        >)
    | (MessageAction<StepView<Input, Results>, Result> &
        Refusal<Refusing> &
        Undone<Input, Results, Client, Result | undefined, never>)
  );

/** A pivot, or a step after it: exactly one of `run`, `local`, `statement` and `send`. */
export type ForwardStepOptions<Input, Results, Client, Result, Refusing> = StepSettings &
  NoUndo &
  (
    | (RunAction<StepView<Input, Results>, Result> & NoRefusal)
    | (LocalAction<StepView<Input, Results>, Client, Result> & NoRefusal)
    | (StatementAction<StepView<Input, Results>> & NoRefusal)
    | (MessageAction<StepView<Input, Results>, Result> & Refusal<Refusing>)
  );

interface NoRefusal {
  readonly refused?: never;
  readonly reason?: never;
}
