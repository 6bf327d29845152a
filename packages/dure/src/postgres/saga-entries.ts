import type { Statement } from "../core/transaction.ts";
import type { JournalEntry, SagaMove, SagaStart } from "../saga/saga-store.ts";

/** JSON text and our ids hold no control characters. */
const separator = "\u001e";

/** The parameters of `saga_record`. */
export function recordParams(
  process: number,
  batch: number,
  entries: readonly JournalEntry[],
): Statement["params"] {
  const starts = entries.flatMap(({ start }) => (start === undefined ? [] : [start]));
  const moved = entries.filter((entry) => entry.move !== undefined);
  const signals = entries.flatMap((entry) => entry.signals ?? []);
  const join = (texts: readonly string[]): string => texts.join(separator);
  return [
    process,
    batch,
    starts.length === 0 ? null : startsJson(starts),
    join(entries.map((entry) => entry.sagaId)),
    `{${entries.map((entry) => entry.n).join(",")}}`,
    join(entries.map((entry) => entry.events)),
    ...(moved.length === 0
      ? [null, null, null, null]
      : [
          join(moved.map((entry) => entry.sagaId)),
          join(moved.map((entry) => entry.move?.status ?? "")),
          join(moved.map((entry) => liveOf(entry.move))),
          `{${moved.map((entry) => wakeOf(entry.move)).join(",")}}`,
        ]),
    signals.length === 0 ? null : `{${signals.join(",")}}`,
  ];
}

/** The parameters of `saga_record_local`. */
export function localParams(
  process: number,
  batch: number,
  entry: JournalEntry,
): Statement["params"] {
  const { sagaId, n, events, start, move, signals = [] } = entry;
  return [
    process,
    batch,
    start === undefined ? null : startsJson([start]),
    sagaId,
    n,
    events,
    ...(move === undefined
      ? [null, null, null, null]
      : [sagaId, move.status ?? "", liveOf(move), wakeOf(move)]),
    signals.length === 0 ? null : `{${signals.join(",")}}`,
  ];
}

/** The input is JSON already, and is put in as it is. */
function startsJson(starts: readonly SagaStart[]): string {
  const items = starts.map((start) => {
    const facts = JSON.stringify({
      id: start.sagaId,
      definition: start.definition,
      version: start.version,
      key: start.businessKey,
      trace: start.traceparent,
      deadline: start.deadlineMs,
    });
    return `${facts.slice(0, -1)},"input":${start.input}}`;
  });
  return `[${items.join(",")}]`;
}

function liveOf(move: SagaMove | undefined): string {
  if (move === undefined || move.kind === "stay") return "keep";
  return move.kind;
}

function wakeOf(move: SagaMove | undefined): number {
  if (move?.kind !== "free" || move.wakeInMs === undefined) return -1;
  return Math.max(0, Math.ceil(move.wakeInMs));
}
