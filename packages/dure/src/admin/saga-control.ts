import { DureError } from "../core/errors.ts";
import { detailsOf, stateOf } from "../saga/saga-details.ts";
import type { SagaDetails } from "../saga/saga-details.ts";
import type { SagaPlan } from "../saga/saga-decision.ts";
import { sagaStatuses } from "../saga/saga-event.ts";
import { sagaNotFound } from "../saga/saga-outcomes.ts";
import { planKey } from "../saga/saga-plans.ts";
import { refusalOf } from "../saga/saga-signal.ts";
import type { SagaCommand } from "../saga/saga-signal.ts";
import { checkedReason, invalid } from "./actor.ts";
import type { ActorWithReason } from "./actor.ts";
import type { ListedSaga, SagaAdminStore, SagaFilter, SagaTimer } from "./saga-admin-store.ts";

/** One page of a list of sagas. */
export interface SagaPage {
  readonly sagas: readonly ListedSaga[];
  /** For the next page; null: this was the last one. */
  readonly cursor: string | null;
}

/**
 * What an operator sees of the sagas of one service, and does to them, whichever process drives them. Each
 * command needs to be told who and why, is written to the audit log in the commit that leaves it for the
 * saga's owner, and resolves to whether it was not asked before: twice is once, and when the first one has
 * been taken, the second is refused as any that does not fit the state. What the saga's state does not
 * allow is refused at once with SAGA_COMMAND_REFUSED and the reason. Where the state has changed before the
 * owner took it, or this process does not know the definition, the owner refuses it, and the journal says
 * `command-refused`.
 */
export interface SagaControl {
  /**
   * One saga with its steps, its journal and what is owed.
   * @throws SAGA_NOT_FOUND
   */
  get(
    sagaId: string,
    /** Results are payload. @defaultValue withResults false */
    options?: { readonly withResults?: boolean },
  ): Promise<SagaDetails>;
  /** The newest first. @defaultValue limit 100 */
  list(
    filter?: SagaFilter & {
      /** 1 to 1000. */
      readonly limit?: number;
      /** Of the page before. */
      readonly cursor?: string;
    },
  ): Promise<SagaPage>;
  /**
   * Of a parked saga: gives what failed for good all its attempts again. Of one that waits for a time: what
   * waits is due now.
   * @throws SAGA_NOT_FOUND, SAGA_COMMAND_REFUSED
   */
  retry(sagaId: string, by: ActorWithReason): Promise<boolean>;
  /**
   * Of a parked saga: goes on as if the step had been done (with `result`, which later steps read), or as if
   * its compensation had been: someone has seen to it outside.
   * @throws SAGA_NOT_FOUND, SAGA_COMMAND_REFUSED
   */
  skip(
    sagaId: string,
    step: string,
    by: ActorWithReason & { readonly result?: unknown },
  ): Promise<boolean>;
  /**
   * Undoes what was done, also after the pivot where the saga is parked as FAILED. Of a running saga only
   * before its pivot.
   * @throws SAGA_NOT_FOUND, SAGA_COMMAND_REFUSED
   */
  compensate(sagaId: string, by: ActorWithReason): Promise<boolean>;
  /**
   * Ends a parked saga as it stands: someone has done outside what was missing. Nothing more is run. Of a flow
   * that goes on: it is not followed any more, by the next look of whoever follows it; its services know nothing
   * of that. {@link SagaClosed} commits with the end.
   * @throws SAGA_NOT_FOUND, SAGA_COMMAND_REFUSED
   */
  resolve(
    sagaId: string,
    by: ActorWithReason & { readonly as: "COMPLETED" | "COMPENSATED" },
  ): Promise<boolean>;
  readonly timers: SagaTimers;
}

/** What sagas wait for. A saga that waits for a time belongs to no process, and its time is a row. */
export interface SagaTimers {
  /** Those that go on soonest first. @defaultValue limit 100 */
  list(filter?: {
    readonly definition?: string;
    readonly limit?: number;
  }): Promise<readonly SagaTimer[]>;
  /**
   * Moves what its steps wait for (the next attempt, an answer's time-out) to another time.
   * @throws SAGA_NOT_FOUND, SAGA_COMMAND_REFUSED
   */
  move(sagaId: string, by: ActorWithReason & { readonly at: Date }): Promise<boolean>;
  /**
   * Moves the saga's deadline; null takes it away. A process that drives the saga is told, and counts with the new
   * one from when it has taken that; once the old one has passed the saga is being undone, and nothing changes it.
   * @throws SAGA_NOT_FOUND, SAGA_COMMAND_REFUSED
   */
  moveDeadline(
    sagaId: string,
    by: ActorWithReason & { readonly at: Date | null },
  ): Promise<boolean>;
}

/** What the control needs. */
export interface SagaControlParts {
  readonly store: SagaAdminStore;
  /** The definitions that this process knows. */
  readonly plans: ReadonlyMap<string, SagaPlan>;
  /** A command has been left. */
  readonly onCommand: () => void;
}

/** The operator's levers over the sagas in the given store. */
export function createSagaControl(parts: SagaControlParts): SagaControl & {
  /** As {@link SagaControl.compensate} of a running saga, with a reason that is a word of the domain. */
  readonly cancel: (sagaId: string, by: ActorWithReason) => Promise<boolean>;
} {
  const { store, plans } = parts;
  return {
    async get(sagaId, options) {
      const [saga] = await store.load([sagaId]);
      if (saga === undefined) throw sagaNotFound(sagaId);
      const plan = plans.get(planKey(saga.definition, saga.version));
      return detailsOf(saga, plan, { withResults: options?.withResults === true });
    },
    list: async (filter) => list(store, filter ?? {}),
    retry: async (sagaId, by) => command(parts, sagaId, { command: "retry" }, by),
    async skip(sagaId, step, by) {
      if (typeof step !== "string" || step === "") throw invalid("step: say which one");
      const { result } = by;
      const more = { step, ...(result !== undefined && { result: checkedResult(result) }) };
      return command(parts, sagaId, { command: "skip", ...more }, by);
    },
    compensate: async (sagaId, by) => command(parts, sagaId, { command: "compensate" }, by),
    cancel: async (sagaId, by) => command(parts, sagaId, { command: "cancel" }, by),
    async resolve(sagaId, by) {
      if (by.as !== "COMPLETED" && by.as !== "COMPENSATED") {
        throw invalid("as: must be COMPLETED or COMPENSATED");
      }
      return command(parts, sagaId, { command: "resolve", as: by.as }, by);
    },
    timers: createTimers(parts),
  };
}

function createTimers(parts: SagaControlParts): SagaTimers {
  const { store, onCommand } = parts;
  return {
    async list(filter = {}) {
      const { limit = 100, ...rest } = filter;
      return store.timers(rest, checkedLimit(limit));
    },
    async move(sagaId, by) {
      const at = checkedTime(by.at).getTime();
      return command(parts, sagaId, { command: "retry", at }, by);
    },
    async moveDeadline(sagaId, by) {
      const { actor, reason } = checkedReason(by, "the deadline is moved");
      const at = by.at === null ? null : checkedTime(by.at).toISOString();
      const outcome = await store.moveDeadline(sagaId, at, { actor, reason });
      switch (outcome) {
        case "moved":
          onCommand();
          return true;
        case "repeated":
          return false;
        case "unknown":
          throw sagaNotFound(sagaId);
        case "followed":
          throw refused(
            `move the deadline of saga ${sagaId}`,
            "it is a flow, whose waits its definition says",
          );
        case "parked":
          throw refused(
            `move the deadline of saga ${sagaId}`,
            "it is parked, and has none that counts",
          );
        case "ended":
          throw refused(`move the deadline of saga ${sagaId}`, "it has ended");
      }
    },
  };
}

/** The journal may grow between a look and a command: as often it is looked at again. */
const looksMax = 5;

async function command(
  { store, plans, onCommand }: SagaControlParts,
  sagaId: string,
  given: Pick<SagaCommand, "command" | "step" | "result" | "as" | "at">,
  by: ActorWithReason,
): Promise<boolean> {
  const what = given.step === undefined ? given.command : `${given.command} step "${given.step}"`;
  const action = given.step === undefined ? `${what} saga ${sagaId}` : `${what} of saga ${sagaId}`;
  const { actor, reason } = checkedReason(by, `you ${what}`);
  const body: SagaCommand = { kind: "command", ...given, actor, why: reason };
  for (let look = 1; look <= looksMax; look += 1) {
    const [saga] = await store.load([sagaId]);
    if (saga === undefined) throw sagaNotFound(sagaId);
    const { state } = stateOf(saga, plans.get(planKey(saga.definition, saga.version)));
    const refusal = isFlow(saga) ? refusalOfFlow(body) : refusalOf(state, body);
    if (refusal !== undefined) throw refused(action, refusal);
    if (isAsked(state, given.command)) return false;
    const n = saga.process === undefined ? saga.journal.length : undefined;
    const subject = [given.step, given.as, given.at].filter((x) => x !== undefined).join("/");
    const stored = { n, command: given.command, subject, body };
    switch (await store.command(sagaId, stored, { actor, reason })) {
      case "taken":
        onCommand();
        return true;
      case "repeated":
        return false;
      case "unknown":
        throw sagaNotFound(sagaId);
      case "ended":
        throw refused(action, "it has ended");
      case "busy":
        throw refused(action, "another operator's command waits to be taken; look again");
      case "moved":
    }
  }
  throw refused(action, "it goes on while you look; look again");
}

/** Followed, not driven: it is no process's. */
function isFlow({ process }: { readonly process: number | undefined }): boolean {
  return process === flowProcess;
}

const flowProcess = 0;

function refusalOfFlow({ command }: SagaCommand): string | undefined {
  if (command === "resolve") return undefined;
  return "it is a flow, which nobody drives: its services go on by themselves, and it can be resolved";
}

/** It is being undone already, or will be. */
function isAsked(
  { status, cancel }: { readonly status: string; readonly cancel: unknown },
  kind: SagaCommand["command"],
): boolean {
  if (kind !== "cancel" && kind !== "compensate") return false;
  return status === "COMPENSATING" || (status === "RUNNING" && cancel !== undefined);
}

async function list(
  store: SagaAdminStore,
  filter: SagaFilter & { readonly limit?: number; readonly cursor?: string },
): Promise<SagaPage> {
  const { limit = 100, cursor, ...rest } = filter;
  if (rest.status !== undefined && !sagaStatuses.includes(rest.status)) {
    throw invalid(`status: must be one of ${sagaStatuses.join(", ")}`);
  }
  const count = checkedLimit(limit);
  const sagas = await store.list(rest, count, cursor === undefined ? undefined : placeOf(cursor));
  const last = sagas.at(-1);
  const isMore = last !== undefined && sagas.length === count;
  return { sagas, cursor: isMore ? `${last.startedAt}/${last.sagaId}` : null };
}

function placeOf(cursor: string): { readonly startedAt: string; readonly sagaId: string } {
  const [startedAt = "", sagaId = ""] = cursor.split("/");
  if (!/^\d{4}-\d\d-\d\dT[\d:.]{8,15}Z$/.test(startedAt) || sagaId === "") {
    throw invalid("cursor: must be that of a page before");
  }
  return { startedAt, sagaId };
}

function checkedLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1_000) return limit;
  throw invalid("limit: must be a whole number from 1 to 1000");
}

function checkedTime(at: unknown): Date {
  if (at instanceof Date && !Number.isNaN(at.getTime())) return at;
  throw invalid("at: must be a date");
}

/** As later steps will read it. */
function checkedResult(result: unknown): unknown {
  try {
    const text = JSON.stringify(result) as string | undefined;
    if (text !== undefined) return JSON.parse(text) as unknown;
  } catch {
    // Said below.
  }
  throw invalid("result: must be a value that JSON can hold");
}

function refused(what: string, why: string): DureError {
  return new DureError("SAGA_COMMAND_REFUSED", `cannot ${what}: ${why}`);
}
