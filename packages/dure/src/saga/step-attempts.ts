import { DureError } from "../core/errors.ts";
import type { EventToWrite } from "../core/event.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { Statement } from "../core/transaction.ts";
import { asStored, failureOf, outcomeOfError, withinTime } from "./attempt-execution.ts";
import type { AttemptOutcome } from "./saga-attempt.ts";
import type { CompensationContext, StepAction, StepContext } from "./saga-definition.ts";
import type { Announcement, SagaRun } from "./saga-run.ts";
import { resultsOf } from "./saga-state.ts";
import type { StepState } from "./saga-state.ts";
import type { JournalEntry } from "./saga-store.ts";

/** What making attempts needs. */
export interface AttemptParts {
  /** Runs the work in a transaction and, before it commits, what `last` returns for its result. */
  readonly transaction: <Result>(
    work: (tx: ServiceTransaction) => Promise<Result>,
    last: (result: Result) => Promise<readonly Statement[]>,
    options: { readonly idleMsMax: number },
  ) => Promise<Result>;
  /** The statement, the entry and the events, in one commit. */
  readonly writeWithStatement: (
    statement: Statement,
    entry: JournalEntry,
    events: readonly Announcement[],
  ) => Promise<void>;
  /** The entry and the events as the last statements of a transaction. */
  readonly statementsOf: (
    entry: JournalEntry,
    events: readonly Announcement[],
  ) => Promise<readonly Statement[]>;
  /** Events have been written to the outbox. */
  readonly onAnnounced: () => void;
  readonly leaseMs: number;
}

/**
 * Makes one attempt of a step, or of its compensation, and delivers what it came to. The outcome of code that
 * may talk to the network is unknown unless it says otherwise; what happens in a transaction of the journal's
 * database has not happened unless it says so.
 */
export async function makeAttempt(
  parts: AttemptParts,
  run: SagaRun,
  step: StepState,
  options: { readonly isUndo: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const { isUndo, signal } = options;
  const { plan } = step;
  const compensation = isUndo ? plan.compensation : undefined;
  const action = (compensation?.action ?? plan.action) as StepAction<
    StepContext & CompensationContext
  >;
  const timeoutMs = compensation?.timeoutMs ?? plan.timeoutMs;
  // What a compensation returns is read by nobody: it need not be storable.
  const kept = (result: unknown): unknown =>
    isUndo
      ? undefined
      : asStored(`the result of step "${plan.name}" of saga ${run.sagaId}`, result);
  const isUnknown = action.kind === "run";
  try {
    const outcome = await withinTime<AttemptOutcome>(timeoutMs, signal, async (attempt) => {
      const context = contextOf(run, step, isUndo, () => attempt.signal());
      if (action.kind === "run") {
        return { kind: "done", result: kept(await action.run(context)) };
      }
      if (action.kind === "local") {
        const work = async (tx: ServiceTransaction): Promise<unknown> => {
          const result = kept(await action.run(withTransaction(context, tx)));
          attempt.hold();
          return result;
        };
        await runLocal(parts, run, step, isUndo, work);
      }
      if (action.kind === "statement") {
        const statement = action.statement(context);
        attempt.hold();
        await run.writeWith(step, isUndo, { kind: "done" }, async (entry, events) => {
          await parts.writeWithStatement(statement, entry, events);
        });
      }
      // It has been written with its effect.
      return written;
    });
    if (outcome !== written) run.settle(step, isUndo, outcome);
  } catch (error) {
    // While it is being stopped nobody asks for the outcome: the next owner does.
    if (signal.aborted) return;
    run.settle(step, isUndo, outcomeOfError(error, isUnknown));
  }
}

const written: AttemptOutcome = { kind: "done" };

async function runLocal(
  parts: AttemptParts,
  run: SagaRun,
  step: StepState,
  isUndo: boolean,
  work: (tx: ServiceTransaction) => Promise<unknown>,
): Promise<void> {
  const committed = Promise.withResolvers<void>();
  let writing: Promise<void> | undefined;
  try {
    await parts.transaction(
      work,
      (result) => {
        // The run is held from here until COMMIT has answered.
        const statements = Promise.withResolvers<readonly Statement[]>();
        writing = run.writeWith(step, isUndo, { kind: "done", result }, async (entry, events) => {
          statements.resolve(await parts.statementsOf(entry, events));
          await committed.promise;
          if (events.length > 0) parts.onAnnounced();
        });
        writing.catch(statements.reject);
        return statements.promise;
      },
      { idleMsMax: parts.leaseMs },
    );
    committed.resolve();
  } catch (error) {
    committed.reject(error as Error);
    // Nobody waits for it where the work itself failed.
    committed.promise.catch(() => undefined);
    if (writing !== undefined) await writing.catch(() => undefined);
    throw error;
  }
  await writing;
}

function withTransaction<Context extends object>(
  context: Context,
  tx: ServiceTransaction,
): Context & { readonly tx: ServiceTransaction } {
  return { ...context, tx };
}

function contextOf(
  run: SagaRun,
  step: StepState,
  isUndo: boolean,
  ask: () => AbortSignal,
): StepContext & CompensationContext {
  const { plan } = step;
  const { sagaId, traceparent } = run;
  const forwardKey = `${sagaId}-${plan.keySuffix}`;
  const key = isUndo ? `${sagaId}-${plan.compensation?.keySuffix ?? ""}` : forwardKey;
  return {
    input: run.state.input,
    results: resultsOf(run.state),
    result: step.result,
    // Known from the turn on, and read by compensations only.
    reason: run.state.reason ?? { code: "UNKNOWN", error: "" },
    call: new AttemptCall(ask, {
      sagaId,
      step: plan.name,
      attempt: isUndo ? step.undoAttempts : step.attempts,
      key,
      compensates: forwardKey,
      // The number of the entry that holds the intent: it grows with every write of the saga, whoever makes it.
      fencingToken: run.n,
      traceparent,
    }),
  };
}

type Call = CompensationContext["call"];

/**
 * A class, for its getter stands in the prototype. One in an object literal makes a shape of its own for each
 * object, and shapes are old from the first: what the getter closes over would outlive its saga until the whole
 * heap is collected.
 */
class AttemptCall implements Call {
  readonly sagaId: Call["sagaId"];
  readonly step: Call["step"];
  readonly attempt: Call["attempt"];
  readonly key: Call["key"];
  readonly compensates: Call["compensates"];
  readonly fencingToken: Call["fencingToken"];
  readonly traceparent: Call["traceparent"];
  readonly #ask: () => AbortSignal;

  constructor(ask: () => AbortSignal, facts: Omit<Call, "signal">) {
    this.#ask = ask;
    this.sagaId = facts.sagaId;
    this.step = facts.step;
    this.attempt = facts.attempt;
    this.key = facts.key;
    this.compensates = facts.compensates;
    this.fencingToken = facts.fencingToken;
    this.traceparent = facts.traceparent;
  }

  /** Made when it is asked for: most steps never look at it. */
  get signal(): AbortSignal {
    return this.#ask();
  }
}

/** A command by message as it is sent: what a definition's code throws here is an outcome as well. */
export function commandOf(
  run: SagaRun,
  step: StepState,
  isUndo: boolean,
): { readonly event: EventToWrite } | { readonly failure: { code: string; error: string } } {
  const { plan } = step;
  const action = (isUndo ? plan.compensation?.action : plan.action) as
    | StepAction<StepContext & CompensationContext>
    | undefined;
  if (action?.kind !== "message") {
    throw new DureError("ASSERTION_FAILED", `step "${plan.name}" sends no command`);
  }
  const never = new AbortController().signal;
  try {
    return { event: action.command(contextOf(run, step, isUndo, () => never)) };
  } catch (error) {
    return { failure: failureOf(error) };
  }
}
