import { deepFreeze } from "./attempt-execution.ts";
import { settled, undoSettled } from "./saga-attempt.ts";
import type { AttemptOutcome, Moment } from "./saga-attempt.ts";
import type { StepAction } from "./saga-definition.ts";
import { isAtPivot, owedSteps } from "./saga-decision.ts";
import type { SagaCommandKind, SagaEvent } from "./saga-event.ts";
import { isAtRest } from "./saga-event.ts";
import { waitingSteps } from "./saga-state.ts";
import type { SagaState } from "./saga-state.ts";

/** What an operator, or the saga's own service, asks of a saga. */
export interface SagaCommand {
  readonly kind: "command";
  readonly command: SagaCommandKind;
  readonly actor: string;
  /** Of `cancel`: the reason that the saga is compensated for. */
  readonly why: string;
  /** Of `skip`. */
  readonly step?: string;
  /** Of `skip`: what later steps are to read as its result. */
  readonly result?: unknown;
  /** Of `resolve`. */
  readonly as?: "COMPLETED" | "COMPENSATED";
  /** Of `retry`, where it waits for a time: moves it there, in milliseconds since the epoch. Left out: at once. */
  readonly at?: number;
}

/** The answer to a command that a step, or its compensation, sent by message. */
export interface SagaReply {
  readonly kind: "reply";
  readonly direction: "do" | "undo";
  readonly step: string;
  /** The event that answered, and what it says. */
  readonly type: string;
  readonly data: unknown;
}

/** The saga's deadline has been moved, in its row too: for whoever has read that before. */
export interface DeadlineSignal {
  readonly kind: "deadline";
  /** Milliseconds since the epoch; null: it has none any more. */
  readonly at: number | null;
}

/** What a signal holds. */
export type SignalBody = SagaCommand | SagaReply | DeadlineSignal;

/** What a signal does to a saga in this state. A reply that nobody waits for any more does nothing. */
export function answerSignal(
  state: SagaState,
  body: SignalBody,
  moment: Moment,
): readonly SagaEvent[] {
  if (body.kind === "reply") return answerReply(state, body, moment);
  if (body.kind === "deadline") return [];
  const { command, actor, why } = body;
  const refusal = refusalOf(state, body);
  if (refusal !== undefined) {
    return [{ type: "command-refused", command, actor, why: `${why} (refused: ${refusal})` }];
  }
  return [
    {
      type: "commanded",
      command,
      actor,
      why,
      ...(body.step === undefined ? {} : { step: body.step }),
      ...(body.result === undefined ? {} : { result: body.result }),
      ...(body.as === undefined ? {} : { as: body.as }),
      ...(body.at === undefined ? {} : { at: body.at }),
    },
  ];
}

function answerReply(state: SagaState, reply: SagaReply, moment: Moment): readonly SagaEvent[] {
  const { direction } = reply;
  const step = state.steps.get(reply.step);
  if (step === undefined || isAtRest(state.status)) return [];
  const { phase, plan } = step;
  const outcome = outcomeOfReply(
    direction === "do" ? plan.action : plan.compensation?.action,
    reply,
  );
  if (outcome === undefined) return [];
  if (direction === "do" && (phase === "running" || phase === "waiting")) {
    return [settled(step, outcome, moment)];
  }
  if (direction === "undo" && (phase === "undoing" || phase === "undo-waiting")) {
    return [undoSettled(step, outcome, moment)];
  }
  return [];
}

/** Undefined: the step does not count this event as an answer. */
function outcomeOfReply(
  action: StepAction<never> | undefined,
  { type, data }: SagaReply,
): AttemptOutcome | undefined {
  if (action?.kind !== "message") return undefined;
  const reply = action.replies.find(({ definition }) => definition.type === type);
  if (reply === undefined) return undefined;
  if (reply.outcome === "done") return { kind: "done", result: deepFreeze(data) };
  let code = type;
  try {
    code = reply.reason?.(data) ?? type;
  } catch {
    // The answer stands, whatever the word for it.
  }
  return { kind: "refused", code, error: `${type} answered the command` };
}

/** Why a command cannot be carried out; undefined: it can. */
export function refusalOf(state: SagaState, command: SagaCommand): string | undefined {
  const { status } = state;
  const isParked = status === "FAILED" || status === "COMPENSATION_FAILED";
  if (isAtRest(status) && !isParked) return `it has ended as ${status}`;
  switch (command.command) {
    case "cancel":
      if (status === "COMPENSATING") return undefined;
      if (isParked) return `it is ${status}`;
      return isAtPivot(state) ? "its pivot has begun" : undefined;
    case "retry":
      if (isParked) return command.at === undefined ? undefined : `it is ${status}: no timer runs`;
      return waitingSteps(state).length > 0
        ? undefined
        : `it is ${status}, not parked, and none of its steps waits for a time`;
    case "compensate":
      if (status === "COMPENSATING") return undefined;
      if (status === "RUNNING") return isAtPivot(state) ? "its pivot has begun" : undefined;
      return status === "FAILED" ? undefined : "its compensation has failed: retry or skip";
    case "skip":
      return refusalToSkip(state, command.step);
    case "resolve":
      if (!isParked) return `it is ${status}, not parked`;
      return command.as === undefined ? "as what is not said" : undefined;
  }
}

function refusalToSkip(state: SagaState, name: string | undefined): string | undefined {
  const step = name === undefined ? undefined : state.steps.get(name);
  if (step === undefined) return `step "${name ?? ""}" has not begun`;
  if (state.status === "FAILED") {
    if (step.phase === "refused" || step.phase === "given-up") return undefined;
    return `step "${step.plan.name}" has not failed`;
  }
  if (state.status !== "COMPENSATION_FAILED") return `it is ${state.status}, not parked`;
  return owedSteps(state).includes(step) ? undefined : `step "${step.plan.name}" is not owed`;
}
