import type { Clock } from "../core/clock.ts";
import { isDureError } from "../core/errors.ts";
import type { EventDefinition, EventToWrite } from "../core/event.ts";
import type { Logger } from "../core/logger.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { Statement, TransactionHandle } from "../core/transaction.ts";
import type { ReceivedMessage } from "../inbox/inbox.ts";
import type { OutboxStore } from "../outbox/outbox-store.ts";
import { prepareEvent } from "../outbox/outbox.ts";
import { failureOf } from "../saga/attempt-execution.ts";
import { owedSteps } from "../saga/saga-decision.ts";
import type { AnySagaDefinition } from "../saga/saga-definition.ts";
import { SagaClosed, SagaParked } from "../saga/saga-alert.ts";
import type { SagaClosedData } from "../saga/saga-alert.ts";
import type { AttemptOutcome } from "../saga/saga-attempt.ts";
import { SagaEngine } from "../saga/saga-engine.ts";
import type { SagaSettings } from "../saga/saga-engine.ts";
import type { SagaEvent } from "../saga/saga-event.ts";
import type { SagaOutcomes } from "../saga/saga-outcomes.ts";
import { plansOf } from "../saga/saga-plans.ts";
import type { Announcement, SagaRun } from "../saga/saga-run.ts";
import type { SagaReply } from "../saga/saga-signal.ts";
import { stepsOf } from "../saga/saga-state.ts";
import type { SagaStore } from "../saga/saga-store.ts";
import { createSagaControl } from "../admin/saga-control.ts";
import type { SagaControl } from "../admin/saga-control.ts";
import { createSagas } from "../saga/sagas.ts";
import type { SagaParts, Sagas } from "../saga/sagas.ts";
import { commandOf } from "../saga/step-attempts.ts";
import type { DureOptions } from "./service-options.ts";
import type { TransactionParts } from "./service-transaction.ts";

/** What wiring needs of the service. */
interface WiringParts<Client> {
  readonly options: DureOptions<Client>;
  readonly settings: SagaSettings;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly life: SagaParts["life"];
  /** Runs the work in a transaction of the service. */
  readonly run: <Result>(
    work: (tx: ServiceTransaction<Client>) => Promise<Result>,
    more: Pick<TransactionParts<Client, Result>, "last" | "options">,
  ) => Promise<Result>;
  readonly onWritten: () => void;
  readonly afterCommit: SagaParts["afterCommit"];
}

/** The sagas of a service: their engine, if it has any definitions, and the handlers of the answers to their commands. */
export function wireSagas<Client>(parts: WiringParts<Client>): {
  readonly sagas: Sagas & SagaControl;
  readonly engine: SagaEngine | undefined;
  /** Those who wait for ends: the engine tells them when it stops; without one the service does. */
  readonly outcomes: SagaOutcomes;
  readonly handlers: readonly ReplyHandler[];
} {
  const { options, settings, clock, logger, life, run, afterCommit, onWritten } = parts;
  const { service, store } = options;
  const definitions = options.sagas?.definitions ?? [];
  const plans = plansOf(definitions);
  const write = createAnnouncementWriter({ source: service, outbox: store.outbox, clock });
  const engine = new SagaEngine({
    service,
    store: store.sagas,
    plans,
    settings,
    clock,
    logger,
    transaction: (work, last, runOptions) => run(work, { last, options: runOptions }),
    runStatements: (statements) =>
      store.transactions.runStatements(statements, { idleMsMax: settings.leaseMs }),
    prepareEvents: write,
    announce: createAnnouncer(logger, clock),
    onAnnounced: onWritten,
  });
  const transaction: SagaParts["transaction"] = (work) => run(work, {});
  const started = createSagas({
    store: store.sagas,
    engine,
    plans,
    clock,
    life,
    transaction,
    afterCommit,
  });
  const onCommand = (): void => engine.wake();
  // Canceling is the service's own here: it may ride in a transaction, and its answers are outcomes.
  const sagas = {
    ...createSagaControl({ store: store.admin.sagas, plans, onCommand }),
    ...started,
  };
  const handlers = replyHandlers(definitions, {
    store: store.sagas,
    onReply: (tx) => afterCommit(tx, () => engine.wake()),
  });
  return {
    sagas,
    engine: definitions.length === 0 ? undefined : engine,
    outcomes: engine.outcomes,
    handlers,
  };
}

/** What the engine says outside with an entry: commands by message, that a saga was parked, an end that no step can tell. */
export function createAnnouncer(
  logger: Logger,
  clock: Clock,
): (run: SagaRun, events: readonly SagaEvent[]) => readonly Announcement[] {
  return (run, events) => {
    const announced: Announcement[] = [];
    for (const event of events) {
      if (event.type === "parked") announced.push(parked(run, event, logger));
      else if (event.type === "begun" || event.type === "undo-begun") {
        announced.push(...commanded(run, event, clock));
      }
      const closing = closingOf(run, event);
      if (closing !== undefined) announced.push(closed(run, closing));
    }
    return announced;
  };
}

type Closing = Pick<SagaClosedData, "status" | "code" | "error" | "actor">;

/** What ends a saga without any of its own steps; undefined: this event does not. */
function closingOf({ state }: SagaRun, event: SagaEvent): Closing | undefined {
  if (event.type === "commanded" && event.command === "resolve" && event.as !== undefined) {
    return { status: event.as, code: "RESOLVED", error: event.why, actor: event.actor };
  }
  if (event.type !== "compensated" || state.steps.size > 0) return undefined;
  const { code, error } = event.reason;
  return { status: "COMPENSATED", code, error, actor: null };
}

function closed({ sagaId, plan }: SagaRun, closing: Closing): Announcement {
  const { name, version } = plan.definition;
  const data = { sagaId, definition: name, version, ...closing };
  return { event: SagaClosed.of(data), correlationId: sagaId };
}

function parked(
  run: SagaRun,
  { status, reason }: Extract<SagaEvent, { type: "parked" }>,
  logger: Logger,
): Announcement {
  const { sagaId, plan, state } = run;
  const { name, version } = plan.definition;
  const { code, error, step = null } = reason;
  const owed = owedSteps(state).map((owedStep) => owedStep.plan.name);
  logger.error(`saga is parked and waits for a person: dure sagas show ${sagaId}`, {
    sagaId,
    definition: name,
    version,
    status,
    step,
    code,
    error,
    owed: owed.join(","),
  });
  const data = { sagaId, definition: name, version, status, step, code, error, owed };
  return { event: SagaParked.of(data), correlationId: sagaId };
}

function commanded(
  run: SagaRun,
  event: Extract<SagaEvent, { type: "begun" | "undo-begun" }>,
  clock: Clock,
): readonly Announcement[] {
  const isUndo = event.type === "undo-begun";
  const step = run.state.steps.get(event.step);
  const action = isUndo ? step?.plan.compensation?.action : step?.plan.action;
  if (step === undefined || action?.kind !== "message") return [];
  const command = commandOf(run, step, isUndo);
  const fit = "failure" in command ? command.failure : fitOf(command.event, clock);
  if (typeof fit === "object") {
    run.failAfterwards(step, isUndo, finalFailure(fit));
    return [];
  }
  if ("failure" in command) return [];
  const correlationId = `${isUndo ? "undo" : "do"}/${event.step}/${event.attempt}/${run.sagaId}`;
  if (fit === "fits") return [{ event: command.event, correlationId }];
  const fail = run.checkAfterwards(step, isUndo);
  const onInvalid = (error: unknown): void => fail(finalFailure(failureOf(error)));
  return [{ event: command.event, correlationId, onInvalid }];
}

function finalFailure(failure: ReturnType<typeof failureOf>): AttemptOutcome {
  return { kind: "failed", ...failure, isUnknown: false, isFinal: true };
}

/**
 * What is wrong with a command that does not fit its schema: it would stop the entry that it is to be written with,
 * for ever. `unknown`: its schema takes its time.
 */
function fitOf(
  event: EventToWrite,
  clock: Clock,
): "fits" | "unknown" | ReturnType<typeof failureOf> {
  try {
    const prepared = prepareEvent(event, undefined, clock);
    if (!(prepared instanceof Promise)) return "fits";
    prepared.catch(() => undefined);
    return "unknown";
  } catch (error) {
    return failureOf(error);
  }
}

/** The announcements as the statement that writes them to the outbox. */
export function createAnnouncementWriter(parts: {
  readonly source: string;
  readonly outbox: OutboxStore;
  readonly clock: Clock;
}): (run: SagaRun, announced: readonly Announcement[]) => Promise<readonly Statement[]> {
  const { source, outbox, clock } = parts;
  return async ({ sagaId, traceparent }, announced) => {
    const prepared = await Promise.all(
      announced.map(async ({ event, correlationId, onInvalid }) => {
        try {
          const context = { correlationId, causationId: sagaId, traceparent };
          return await prepareEvent(event, context, clock);
        } catch (error) {
          if (onInvalid === undefined || !isRefusedForGood(error)) throw error;
          onInvalid(error);
          return undefined;
        }
      }),
    );
    const fitting = prepared.filter((event) => event !== undefined);
    return fitting.length === 0 ? [] : [outbox.appendStatement(source, fitting)];
  };
}

/** The schema has refused it, or has thrown: another attempt would bring the same. */
function isRefusedForGood(error: unknown): boolean {
  return !isDureError(error) || error.code === "EVENT_INVALID";
}

/** One event that answers commands of sagas, and how. */
interface ReplyHandler {
  readonly definition: EventDefinition;
  readonly handle: (message: ReceivedMessage, tx: TransactionHandle) => Promise<void>;
}

/**
 * Handlers for the events with which the steps of these definitions are answered. The answer waits as a
 * signal for whoever drives the saga, in the inbox's own commit; `onReply` is told then.
 */
export function replyHandlers(
  definitions: readonly AnySagaDefinition[],
  {
    store,
    onReply,
  }: { readonly store: SagaStore; readonly onReply: (tx: TransactionHandle) => void },
): readonly ReplyHandler[] {
  const events = new Map<string, EventDefinition>();
  for (const definition of definitions) {
    for (const plan of stepsOf(definition).values()) {
      for (const action of [plan.action, plan.compensation?.action]) {
        if (action?.kind !== "message") continue;
        for (const { definition: event } of action.replies) {
          // Every event definition is one; only the types of its data are left out.
          events.set(event.type, event as EventDefinition);
        }
      }
    }
  }
  return [...events.values()].map((definition) => ({
    definition,
    async handle(message, tx) {
      const address = readAddress(message.correlationId);
      if (address === undefined) return;
      const { sagaId, direction, step } = address;
      const { type } = definition;
      const body: SagaReply = { kind: "reply", direction, step, type, data: message.data };
      // One for a saga that has ended comes too late, and is dropped.
      await store.signal(tx, sagaId, { dedupKey: message.id, body });
      onReply(tx);
    },
  }));
}

function readAddress(
  correlationId: string | undefined,
): { direction: "do" | "undo"; step: string; sagaId: string } | undefined {
  const found = /^(do|undo)\/([^/]+)\/\d+\/(.+)$/.exec(correlationId ?? "");
  if (found === null) return undefined;
  const [, direction, step = "", sagaId = ""] = found;
  return { direction: direction === "do" ? "do" : "undo", step, sagaId };
}
