import { describeError } from "../core/errors.ts";
import type { FlowEvent } from "./flow-store.ts";
import { owedSteps } from "./saga-decision.ts";
import type { SagaPlan } from "./saga-decision.ts";
import type { SagaEvent, SagaReason, SagaStatus } from "./saga-event.ts";
import { replay, replayUnknown } from "./saga-replay.ts";
import type { SagaState, StepPhase, StepState } from "./saga-state.ts";
import type { StoredSaga } from "./saga-store.ts";

/** A stored saga with what an operator wants to know beyond it. */
export interface RecordedSaga extends StoredSaga {
  /** When it goes on by itself; undefined while it is driven, and when only a signal can move it. */
  readonly wakeAt: string | undefined;
  /** Of each entry of the journal, in order. */
  readonly entries: readonly { readonly recordedAt: string; readonly process: number }[];
}

/** One step of a saga, as its journal has it. */
export interface SagaStepDetails {
  readonly name: string;
  readonly phase: StepPhase;
  /** Forward attempts that have begun, since the last retry by an operator. */
  readonly attempts: number;
  readonly undoAttempts: number;
  /** It may have had its effect without anyone having heard of it. */
  readonly isDoubtful: boolean;
  /** The last one of its attempts or of its compensation's. */
  readonly failure: { readonly code: string; readonly error: string } | null;
  /** When its next attempt is due, or its answer overdue. */
  readonly nextAt: string | null;
  /** Only where it was asked for: payload. */
  readonly result?: unknown;
}

/** One event of a saga's journal, without payload. */
export interface SagaJournalLine {
  /** The entry that it was written with. */
  readonly n: number;
  readonly at: string;
  /** The process that wrote it. */
  readonly process: number;
  readonly type: (SagaEvent | FlowEvent)["type"];
  readonly step: string | null;
  /** What else it says, in a line. */
  readonly text: string;
}

/** One saga as an operator sees it. */
export interface SagaDetails {
  readonly sagaId: string;
  readonly definition: string;
  readonly version: number;
  readonly businessKey: string | null;
  readonly status: SagaStatus;
  /** Why it is compensated or parked; null while all is well. */
  readonly reason: SagaReason | null;
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly deadlineAt: string | null;
  /** When it goes on by itself; null while it is driven, and when only a person or an answer can move it. */
  readonly wakeAt: string | null;
  /** The process that drives it. */
  readonly process: number | null;
  readonly traceparent: string | null;
  /** The steps that have begun, in that order. */
  readonly steps: readonly SagaStepDetails[];
  /** Steps that were done, or may have been. */
  readonly promised: readonly string[];
  /** Those of them that were undone, or given up by an operator. */
  readonly undone: readonly string[];
  /** Those that are to be undone and are not, the last begun first. */
  readonly owed: readonly string[];
  readonly journal: readonly SagaJournalLine[];
  /** False: this process does not know the definition, and `owed` is what the journal says of it. */
  readonly isKnown: boolean;
  /** Its journal does not fit the definition: it cannot go on. */
  readonly misfit: string | null;
}

/** What the journal of a saga says, with its definition where that is known. */
export function stateOf(
  saga: StoredSaga,
  plan: SagaPlan | undefined,
): { readonly state: SagaState; readonly isKnown: boolean; readonly misfit: string | null } {
  if (plan === undefined) return { state: replayUnknown(saga), isKnown: false, misfit: null };
  try {
    return { state: replay(plan, saga), isKnown: true, misfit: null };
  } catch (error) {
    return { state: replayUnknown(saga), isKnown: false, misfit: describeError(error) };
  }
}

/** One saga as an operator sees it. */
export function detailsOf(
  saga: RecordedSaga,
  plan: SagaPlan | undefined,
  options: { readonly withResults: boolean },
): SagaDetails {
  const { state, isKnown, misfit } = stateOf(saga, plan);
  const steps = [...state.steps.values()];
  const isUndone = ({ phase }: StepState): boolean =>
    phase === "undone" || phase === "undo-skipped";
  return {
    sagaId: saga.sagaId,
    definition: saga.definition,
    version: saga.version,
    businessKey: saga.businessKey ?? null,
    status: saga.status,
    reason: state.reason ?? null,
    startedAt: saga.startedAt,
    endedAt: saga.endedAt ?? null,
    deadlineAt: timeText(saga.deadlineAt) ?? null,
    wakeAt: saga.wakeAt ?? null,
    process: saga.process ?? null,
    traceparent: saga.traceparent ?? null,
    steps: steps.map((step) => stepDetails(step, options.withResults)),
    promised: steps.filter(isPromised).map(({ plan: { name } }) => name),
    undone: steps.filter(isUndone).map(({ plan: { name } }) => name),
    owed: isOwing(state) ? owedSteps(state).map(({ plan: { name } }) => name) : [],
    journal: journalLines(saga),
    isKnown,
    misfit,
  };
}

/** What was done is owed where it is being undone, or where a person is to say whether it is. */
function isOwing({ status }: SagaState): boolean {
  return status === "COMPENSATING" || status === "COMPENSATION_FAILED" || status === "FAILED";
}

function isPromised({ plan, phase, isDoubtful }: StepState): boolean {
  if (plan.isReadOnly) return false;
  return isDoubtful || !["running", "waiting", "refused", "given-up"].includes(phase);
}

function stepDetails(step: StepState, withResult: boolean): SagaStepDetails {
  const { plan, phase, attempts, undoAttempts, isDoubtful, failure, retryAt, result } = step;
  return {
    name: plan.name,
    phase,
    attempts,
    undoAttempts,
    isDoubtful,
    failure: failure ?? null,
    nextAt: timeText(retryAt) ?? null,
    ...(withResult && { result }),
  };
}

/** Milliseconds by the database's clock. */
function timeText(milliseconds: number | undefined): string | undefined {
  return milliseconds === undefined ? undefined : new Date(milliseconds).toISOString();
}

function journalLines({ journal, entries }: RecordedSaga): readonly SagaJournalLine[] {
  return journal.flatMap((events, index) =>
    // Only the engine writes entries, and those who follow flows.
    (events as readonly (SagaEvent | FlowEvent)[]).map((event) => ({
      n: index + 1,
      at: entries[index]?.recordedAt ?? "",
      process: entries[index]?.process ?? 0,
      type: event.type,
      step: "step" in event ? (event.step ?? null) : null,
      text: textOf(event),
    })),
  );
}

function textOf(event: SagaEvent | FlowEvent): string {
  switch (event.type) {
    case "heard":
      return `message ${event.messageId}${event.code === undefined ? "" : `: ${event.code}`}`;
    case "overdue":
      return `${event.service} since ${event.since}`;
    case "begun":
    case "undo-begun":
      return `attempt ${event.attempt}`;
    case "refused":
      return `${event.code}: ${event.error}`;
    case "failed":
    case "undo-failed":
      return `${event.code}: ${event.error}${event.retryAt === undefined ? " (the last attempt)" : ""}`;
    case "chosen":
      return `${event.branch}: ${event.case}`;
    case "turned":
    case "compensated":
      return `${event.reason.code}: ${event.reason.error}`;
    case "parked":
      return `${event.status} ${event.reason.code}: ${event.reason.error}`;
    case "commanded":
      return `${event.command}${event.as === undefined ? "" : ` as ${event.as}`} by ${event.actor}: ${event.why}`;
    case "command-refused":
      return `${event.command} by ${event.actor}: ${event.why}`;
    case "done":
    case "undone":
    case "deadline-passed":
    case "completed":
      return "";
  }
}
