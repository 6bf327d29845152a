import type { ListedSaga, SagaDetails, SagaTimer } from "../admin/index.ts";
import { alignColumns, visible } from "./table.ts";

/** A list of sagas as a table. */
export function describeSagas(sagas: readonly ListedSaga[]): string {
  if (sagas.length === 0) return "no sagas";
  const rows = sagas.map((saga) => [
    saga.sagaId,
    `${saga.definition} v${saga.version}`,
    saga.businessKey ?? "",
    saga.status,
    saga.startedAt,
    saga.endedAt ?? "",
  ]);
  return alignColumns([["ID", "DEFINITION", "KEY", "STATUS", "STARTED", "ENDED"], ...rows], {
    widthMax: 128,
  });
}

/** Waiting sagas as a table. */
export function describeTimers(timers: readonly SagaTimer[]): string {
  if (timers.length === 0) return "no saga waits for a time";
  const rows = timers.map((timer) => [
    timer.sagaId,
    `${timer.definition} v${timer.version}`,
    timer.businessKey ?? "",
    timer.status,
    timer.wakeAt,
    timer.deadlineAt ?? "",
  ]);
  return alignColumns([["ID", "DEFINITION", "KEY", "STATUS", "WAKES", "DEADLINE"], ...rows], {
    widthMax: 128,
  });
}

/** One saga as a person reads it: what it is, what is owed, its steps, its journal. */
export function describeSaga(saga: SagaDetails): string {
  const { reason } = saga;
  const names = (steps: readonly string[]): string => steps.join(", ") || "nothing";
  const facts = [
    ["saga", saga.sagaId],
    ["definition", `${saga.definition} v${saga.version}`],
    ["key", saga.businessKey ?? ""],
    ["status", saga.status],
    ["reason", reason === null ? "" : `${reason.code}: ${reason.error}`],
    ["started", saga.startedAt],
    ["ended", saga.endedAt ?? ""],
    ["deadline", saga.deadlineAt ?? ""],
    ["wakes", saga.wakeAt ?? ""],
    ["driven by", saga.process === null ? "" : `process ${saga.process}`],
    ["trace", saga.traceparent ?? ""],
    ["misfit", saga.misfit ?? ""],
    ["promised", names(saga.promised)],
    ["undone", names(saga.undone)],
    ["owed", names(saga.owed)],
  ].filter(([, value]) => value !== "");
  const steps = saga.steps.map((step) => [
    step.name,
    step.phase + (step.isDoubtful ? " (in doubt)" : ""),
    String(step.attempts),
    String(step.undoAttempts),
    step.nextAt ?? "",
    step.failure === null ? "" : `${step.failure.code}: ${step.failure.error}`,
  ]);
  const journal = saga.journal.map((line) => [
    String(line.n),
    line.at,
    String(line.process),
    line.type,
    line.step ?? "",
    line.text,
  ]);
  return [
    alignColumns(facts, { widthMax: 200 }),
    alignColumns([["STEP", "PHASE", "ATTEMPTS", "UNDO", "NEXT", "FAILURE"], ...steps], {
      right: [2, 3],
    }),
    alignColumns([["N", "AT", "PROCESS", "EVENT", "STEP", ""], ...journal], {
      right: [0, 2],
      widthMax: 100,
    }),
  ].join("\n\n");
}

/** Some ids in a line. */
export function describeIds(ids: readonly string[], countMax: number): string {
  const shown = ids.slice(0, countMax).map(visible).join(", ");
  return ids.length > countMax ? `${shown}, and ${ids.length - countMax} more` : shown;
}
