import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../core/clock.ts";
import { DureError, isDureError } from "../core/errors.ts";
import { newUlid } from "../core/id.ts";
import { describeIssues } from "../core/standard-schema.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import { asStored } from "./attempt-execution.ts";
import type { AnySagaDefinition, SagaDefinition } from "./saga-definition.ts";
import type { SagaEngine } from "./saga-engine.ts";
import type { SagaOutcome } from "./saga-outcomes.ts";
import { sagaNotFound } from "./saga-outcomes.ts";
import { cancelSaga } from "./saga-cancel.ts";
import type { CancelOutcome, CancelSagaOptions } from "./saga-cancel.ts";
import { planKey } from "./saga-plans.ts";
import type { SagaPlan } from "./saga-decision.ts";
import type { SagaStart, SagaStore } from "./saga-store.ts";

/** What {@link Sagas.start} takes. */
export interface StartSagaOptions {
  /**
   * Starting twice with one id is starting once. 1 to 128 letters, digits, dots, dashes, colons and
   * underscores. @defaultValue `SAGA-` and a ULID
   */
  readonly id?: string;
  /** The start commits with this transaction; without one it has committed when the promise resolves. */
  readonly tx?: TransactionHandle;
  /** The W3C trace that its calls belong to. */
  readonly traceparent?: string | undefined;
}

/** A saga that was started, now or before. */
export interface StartedSaga<Output = unknown> {
  readonly sagaId: string;
  /** False: it had been started before, with the same input. */
  readonly isNew: boolean;
  /**
   * What it comes to, whichever process drives it. It goes on also when nobody waits. Rejects with the
   * signal's reason when that aborts.
   */
  outcome(options?: { readonly signal?: AbortSignal }): Promise<SagaOutcome<Output>>;
}

/** Starts sagas of one service and waits for them. */
export interface Sagas {
  /**
   * Starts a saga, once per id: it ends completed, compensated or parked in plain sight, whatever dies
   * meanwhile. When the promise has resolved the start is durable, and so is the intent of the first step;
   * when the process dies before, it was started or not: start it again with the same id. With `tx` it is
   * started if and only if that transaction commits.
   *
   * @throws SAGA_INPUT_INVALID naming the fields
   * @throws SAGA_ID_REUSED when the id was started with another definition or input
   * @throws DATABASE_UNAVAILABLE, STOPPED: start it again with the same id
   */
  start<Input, Output>(
    definition: SagaDefinition<Input, Output>,
    input: Input,
    options?: StartSagaOptions,
  ): Promise<StartedSaga<Output>>;
  /**
   * What a saga comes to, as {@link StartedSaga.outcome}.
   * @throws SAGA_NOT_FOUND
   */
  outcome(sagaId: string, options?: { readonly signal?: AbortSignal }): Promise<SagaOutcome>;
  /**
   * Asks for a saga to be undone, while its pivot has not begun: what is under way is finished first. Twice is
   * once. When the promise has resolved, or `tx` has committed, the request is durable and whoever drives
   * the saga takes it, in the order of what comes in; the answer says what the journal allowed when it was
   * asked, the saga's outcome what came of it. Of a saga whose first step has not begun no step tells anybody: it
   * ends compensated, and `SagaClosed` commits with that.
   * @throws SAGA_NOT_FOUND
   * @throws SAGA_COMMAND_REFUSED for a flow, which nobody drives
   */
  cancel(sagaId: string, options: CancelSagaOptions): Promise<CancelOutcome>;
}

/** What starting needs. */
export interface SagaParts {
  readonly store: SagaStore;
  readonly engine: SagaEngine;
  readonly plans: ReadonlyMap<string, SagaPlan>;
  readonly clock: Clock;
  readonly life: () => "new" | "running" | "stopped";
  /** Runs the work in a transaction of its own. */
  readonly transaction: <Result>(
    work: (tx: TransactionHandle) => Promise<Result>,
  ) => Promise<Result>;
  /** Calls back when the transaction has committed, or soon where that cannot be known. */
  readonly afterCommit: (tx: TransactionHandle, callBack: () => void) => void;
}

/** What the id of a saga may be. */
export const sagaIdPattern: RegExp = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
/** As often a start is tried while its process joins anew. */
const attemptsMax = 5;

/** Makes the user's face of the engine. */
export function createSagas(parts: SagaParts): Sagas {
  const outcome = (
    sagaId: string,
    options?: { readonly signal?: AbortSignal },
  ): Promise<SagaOutcome> => parts.engine.outcomes.wait(sagaId, options?.signal);
  return {
    async start<Input, Output>(
      definition: SagaDefinition<Input, Output>,
      input: Input,
      options: StartSagaOptions = {},
    ): Promise<StartedSaga<Output>> {
      const plan = parts.plans.get(planKey(definition.name, definition.version));
      if (plan?.definition !== definition) throw notRegistered(definition);
      const sagaId = options.id ?? `SAGA-${newUlid(parts.clock)}`;
      if (!sagaIdPattern.test(sagaId)) throw invalidId(sagaId);
      const value = await checkedInput(definition, input);
      const start: SagaStart = {
        sagaId,
        definition: definition.name,
        version: definition.version,
        businessKey: checkedKey(definition, value),
        input: JSON.stringify(value),
        // Whoever called may have sent anything.
        traceparent: /^[!-~]{1,128}$/.test(options.traceparent ?? "")
          ? options.traceparent
          : undefined,
        deadlineMs: definition.deadlineMs,
      };
      const isNew = await begin(parts, plan, start, value, options.tx);
      return {
        sagaId,
        isNew,
        // The definition that made the output is the one whose type it has.
        outcome: (waiting) => outcome(sagaId, waiting) as Promise<SagaOutcome<Output>>,
      };
    },
    async outcome(sagaId, options) {
      const known = await parts.store.outcomes([sagaId]);
      if (known.length === 0) throw sagaNotFound(sagaId);
      return outcome(sagaId, options);
    },
    cancel: (sagaId, options) =>
      cancelSaga(
        {
          store: parts.store,
          plans: parts.plans,
          onSignal(tx) {
            if (tx === undefined) parts.engine.wake();
            else parts.afterCommit(tx, () => parts.engine.wake());
          },
        },
        sagaId,
        options,
      ),
  };
}

async function begin(
  parts: SagaParts,
  plan: SagaPlan,
  start: SagaStart,
  input: unknown,
  tx: TransactionHandle | undefined,
): Promise<boolean> {
  const { engine, store } = parts;
  if (tx !== undefined) {
    const existing = await store.start(tx, start);
    if (existing !== undefined) assertSame(start, existing, input);
    else parts.afterCommit(tx, () => engine.wake());
    return existing === undefined;
  }
  const life = parts.life();
  if (life === "stopped") {
    throw new DureError("STOPPED", `saga ${start.sagaId} was not started: the service has stopped`);
  }
  if (life === "new") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "sagas: dure.start() comes before the first saga, except in a transaction of yours",
    );
  }
  for (let attempt = 1; ; attempt += 1) {
    const membership = await engine.membership();
    try {
      if (!membership.hasRoom) {
        const existing = await parts.transaction((own) => store.start(own, start));
        // Its row is there now: where there is room meanwhile it need not wait for the next look.
        if (membership.hasRoom) engine.wake();
        if (existing !== undefined) assertSame(start, existing, input);
        return existing === undefined;
      }
      if (await membership.start(plan, start, input)) return true;
      const [existing] = await store.load([start.sagaId]);
      if (existing === undefined) throw sagaNotFound(start.sagaId);
      assertSame(start, existing, input);
      return false;
    } catch (error) {
      // Lost with its process: whether it was started is asked by starting it again.
      if (!isDureError(error, "FENCED") || attempt >= attemptsMax) throw error;
    }
  }
}

function assertSame(
  start: SagaStart,
  existing: { readonly definition: string; readonly input: unknown },
  input: unknown,
): void {
  if (existing.definition === start.definition && isDeepStrictEqual(existing.input, input)) return;
  const what = existing.definition === start.definition ? "with another input" : "as another saga";
  throw new DureError(
    "SAGA_ID_REUSED",
    `saga ${start.sagaId} was started before ${what}; choose an id that belongs to one action`,
  );
}

async function checkedInput(definition: AnySagaDefinition, input: unknown): Promise<unknown> {
  const { name, version, schema } = definition;
  const result = await schema["~standard"].validate(input);
  if (result.issues !== undefined) {
    throw new DureError(
      "SAGA_INPUT_INVALID",
      `the input of saga "${name}" version ${version} does not fit its schema: ${describeIssues(result.issues)}`,
    );
  }
  return storable(`the input of saga "${name}"`, result.value) ?? null;
}

function checkedKey({ name, businessKey }: AnySagaDefinition, input: unknown): string | undefined {
  const key: unknown = businessKey?.(input as never);
  if (key === undefined) return undefined;
  return String(storable(`the key of saga "${name}"`, key));
}

function storable(what: string, value: unknown): unknown {
  try {
    return asStored(what, value);
  } catch (error) {
    if (!isDureError(error)) throw error;
    throw new DureError("SAGA_INPUT_INVALID", error.message, { cause: error });
  }
}

function notRegistered({ name, version }: AnySagaDefinition): DureError {
  return new DureError(
    "CONFIGURATION_INVALID",
    `sagas: version ${version} of "${name}" is not among the definitions that createDure was given: whoever recovers it must know it`,
  );
}

function invalidId(sagaId: string): DureError {
  return new DureError(
    "CONFIGURATION_INVALID",
    `sagas: the id "${sagaId.slice(0, 140)}" must be 1 to 128 letters, digits, dots, dashes, colons and underscores, and begin with a letter or digit`,
  );
}
