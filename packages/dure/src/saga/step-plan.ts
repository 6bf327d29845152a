import type { RetryPolicy } from "../core/backoff.ts";
import type { AnyEventDefinition } from "../core/event.ts";
import { sagaDefaults } from "./saga-defaults.ts";
import type {
  CompensationContext,
  CompensationPlan,
  ReplyPlan,
  StepAction,
  StepContext,
  StepPlan,
} from "./saga-definition.ts";

/** Where a step stands: it decides what it has where it says nothing. */
export type StepPlace = "step" | "pivot" | "afterPivot";

/** What a saga's options say for all of its steps. */
export interface StepDefaults {
  readonly retry?: Partial<RetryPolicy>;
  readonly compensationRetry?: Partial<RetryPolicy>;
  readonly timeoutMs?: number;
}

/** The options of a step or of a compensation, of any kind: their types are checked where they are written. */
export interface GivenAction<Context extends StepContext | CompensationContext> {
  readonly run?: Extract<StepAction<Context>, { kind: "run" }>["run"];
  readonly local?: Extract<StepAction<Context>, { kind: "local" }>["run"];
  readonly statement?: Extract<StepAction<Context>, { kind: "statement" }>["statement"];
  readonly send?: Extract<StepAction<Context>, { kind: "message" }>["command"];
  readonly done?: AnyEventDefinition;
  readonly refused?: AnyEventDefinition;
  readonly reason?: (data: unknown) => string;
  readonly action?: string;
  readonly timeoutMs?: number;
  readonly retry?: Partial<RetryPolicy>;
}

type Undoing = GivenAction<CompensationContext> & { readonly needs?: readonly string[] };

/** The options of a step, of any kind. */
export interface GivenStep extends GivenAction<StepContext> {
  readonly compensate?: Undoing | ((context: CompensationContext) => unknown);
  readonly compensationAction?: string;
  readonly readOnly?: boolean;
}

const actionOptions = ["run", "local", "statement", "send"] as const;
const settings = ["done", "action", "timeoutMs", "retry"];
const stepOptions = [
  ...actionOptions,
  ...settings,
  "refused",
  "reason",
  "compensate",
  "compensationAction",
  "readOnly",
];
const compensationOptions = [...actionOptions, ...settings, "needs"];

/** A step with everything filled in; what is wrong with its options is added to `problems`. */
export function planStep(
  name: string,
  given: GivenStep,
  around: { readonly place: StepPlace; readonly defaults: StepDefaults },
  problems: string[],
): StepPlan {
  const { place, defaults } = around;
  const report = (problem: string): void => void problems.push(`step "${name}": ${problem}`);
  const options: GivenStep = isObject(given) ? given : {};
  reportUnknown(options, stepOptions, "", report);
  const action = planAction(options, "", report);
  const isPivot = place === "pivot";
  // The defaults of a saga are meant for what can be undone: three attempts there are no reason to strand a payment.
  const retry = { ...(place === "step" ? defaults.retry : undefined), ...options.retry };
  reportUnknown(retry, retryOptions, "retry.", report);
  return Object.freeze({
    name,
    isPivot,
    keySuffix: options.action ?? name,
    action,
    timeoutMs: options.timeoutMs ?? defaults.timeoutMs ?? sagaDefaults.timeoutMs[action.kind],
    retry: Object.freeze({ ...sagaDefaults.retry[place], ...retry }),
    compensation: planCompensation(name, options, around, report),
    isReadOnly: options.readOnly === true,
  });
}

type Report = (problem: string) => void;

const retryOptions = Object.keys(sagaDefaults.retry.step);

function planCompensation(
  name: string,
  step: GivenStep,
  around: { readonly place: StepPlace; readonly defaults: StepDefaults },
  report: Report,
): CompensationPlan | undefined {
  if (step.compensate === undefined) {
    if (step.compensationAction !== undefined) report("compensationAction: there is no compensate");
    return undefined;
  }
  const at = "compensate";
  if (around.place === "pivot") report(`${at}: a pivot is never undone`);
  if (around.place === "afterPivot") report(`${at}: after the pivot nothing is undone`);
  if (step.readOnly === true) report(`${at}: what is readOnly has nothing to undo`);
  const options = compensationOf(step, report);
  reportUnknown(options, compensationOptions, `${at}.`, report);
  const action = planAction(options, `${at}: `, report);
  const retry = { ...around.defaults.compensationRetry, ...options.retry };
  reportUnknown(retry, retryOptions, `${at}.retry.`, report);
  if (options.action !== undefined && step.compensationAction !== undefined) {
    report(`${at}.action and compensationAction say the same: give one`);
  }
  return Object.freeze({
    keySuffix: options.action ?? step.compensationAction ?? `${name}-compensate`,
    action,
    timeoutMs:
      options.timeoutMs ?? around.defaults.timeoutMs ?? sagaDefaults.timeoutMs[action.kind],
    retry: Object.freeze({ ...sagaDefaults.retry.compensation, ...retry }),
    needs: Object.freeze([...(options.needs ?? [])]),
  });
}

/** A function undoes in the way in which the step is done. */
function compensationOf(step: GivenStep, report: Report): Undoing {
  const { compensate } = step;
  if (typeof compensate === "object" && compensate !== null) return compensate;
  const kind = actionOptions.find((option) => step[option] !== undefined);
  if (typeof compensate !== "function") {
    report("compensate: must be a function or an object");
  } else if (kind === "send") {
    report("compensate: of a step by message it must be an object with send and done");
  } else if (kind !== undefined) {
    // The types of the step's options say that the function is of the same kind.
    return { [kind]: compensate };
  }
  return { run: () => Promise.resolve() };
}

function planAction<Context extends StepContext | CompensationContext>(
  given: GivenAction<Context>,
  at: string,
  report: Report,
): StepAction<Context> {
  const kinds = actionOptions.filter((option) => given[option] !== undefined);
  const choice = "exactly one of run, local, statement and send";
  if (kinds.length === 0) report(`${at}has no action: give ${choice}`);
  if (kinds.length > 1) report(`${at}has ${kinds.join(" and ")}: give ${choice}`);
  for (const kind of kinds) {
    if (typeof given[kind] !== "function") report(`${at}${kind}: must be a function`);
  }
  if (given.send !== undefined) return planMessage({ ...given, send: given.send }, at, report);
  for (const option of ["done", "refused", "reason"] as const) {
    if (given[option] !== undefined) report(`${at}${option}: is for a step by message (send)`);
  }
  if (given.local !== undefined) return Object.freeze({ kind: "local", run: given.local });
  if (given.statement !== undefined) {
    return Object.freeze({ kind: "statement", statement: given.statement });
  }
  return Object.freeze({ kind: "run", run: given.run ?? (() => Promise.resolve()) });
}

function planMessage<Context extends StepContext | CompensationContext>(
  given: GivenAction<Context> & Required<Pick<GivenAction<Context>, "send">>,
  at: string,
  report: Report,
): StepAction<Context> {
  const replies: ReplyPlan[] = [];
  const { done, refused, reason } = given;
  if (isEventDefinition(done)) {
    replies.push(Object.freeze({ definition: done, outcome: "done" }));
  } else {
    report(`${at}done: must be the event that answers`);
  }
  if (isEventDefinition(refused)) {
    replies.push(
      Object.freeze({
        definition: refused,
        outcome: "refused",
        ...(reason !== undefined && { reason }),
      }),
    );
  } else if (refused !== undefined) {
    report(`${at}refused: must be an event`);
  } else if (reason !== undefined) {
    report(`${at}reason: there is no refused`);
  }
  if (done !== undefined && done.type === refused?.type) {
    report(`${at}done and refused are the same event: "${done.type}"`);
  }
  return Object.freeze({ kind: "message", command: given.send, replies: Object.freeze(replies) });
}

function isEventDefinition(value: unknown): value is AnyEventDefinition {
  return isObject(value) && "type" in value && "topic" in value && "schema" in value;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Reports what no option is called: a misspelled limit must not be a limit that does not hold. */
export function reportUnknown(
  given: object,
  known: readonly string[],
  prefix: string,
  report: Report,
): void {
  for (const key of Object.keys(given)) {
    if (!known.includes(key)) {
      report(`${prefix}${key}: is no option (there are ${known.join(", ")})`);
    }
  }
}
