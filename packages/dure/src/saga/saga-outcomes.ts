import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { TurnoverMap } from "../core/turnover-map.ts";
import { isAtRest } from "./saga-event.ts";
import type { SagaEvent, SagaReason, SagaStatus } from "./saga-event.ts";
import type { SagaStore } from "./saga-store.ts";

/** What a saga came to. */
export type SagaOutcome<Output = unknown> =
  | { readonly kind: "completed"; readonly output: Output }
  /** Everything that had happened is undone. */
  | { readonly kind: "compensated"; readonly reason: SagaReason }
  /** It waits for a person: what it did is in its journal, and what it owes. It may still end otherwise. */
  | {
      readonly kind: "parked";
      readonly status: "FAILED" | "COMPENSATION_FAILED";
      readonly reason: SagaReason;
    };

/**
 * What the status and the last events of a saga say of its end; undefined: it goes on, or they do not say it:
 * after its end a parked one may have refused a command, or dropped an answer that came too late.
 */
export function outcomeOf(
  status: SagaStatus,
  events: readonly SagaEvent[],
): SagaOutcome | undefined {
  const end = events.findLast(isEnd);
  if (end === undefined) return undefined;
  switch (status) {
    case "COMPLETED":
      return { kind: "completed", output: end.type === "completed" ? end.output : undefined };
    case "COMPENSATED":
      return { kind: "compensated", reason: reasonOf(end) };
    case "FAILED":
    case "COMPENSATION_FAILED":
      return { kind: "parked", status, reason: reasonOf(end) };
    case "RUNNING":
    case "COMPENSATING":
      return undefined;
  }
}

type EndEvent = Extract<SagaEvent, { type: "completed" | "compensated" | "parked" | "commanded" }>;

function isEnd(event: SagaEvent): event is EndEvent {
  const { type } = event;
  if (type === "commanded") return event.command === "resolve";
  return type === "completed" || type === "compensated" || type === "parked";
}

function reasonOf(end: EndEvent): SagaReason {
  if (end.type === "compensated" || end.type === "parked") return end.reason;
  return { code: "RESOLVED", error: "an operator has marked it as resolved" };
}

/** The error of a saga that is not there. */
export function sagaNotFound(sagaId: string): DureError {
  return new DureError(
    "SAGA_NOT_FOUND",
    `there is no saga ${sagaId}; one that ended long ago is not kept`,
  );
}

interface Watcher {
  readonly resolve: (outcome: SagaOutcome) => void;
  readonly reject: (error: unknown) => void;
}

const pollMsMin = 20;
const pollMsMax = 500;
const idsMax = 1_000;

/**
 * Those who wait for the end of a saga. One that is driven in this process tells them itself; for the others
 * one question is asked for all, at first soon and then less and less often.
 */
export class SagaOutcomes {
  readonly #store: Pick<SagaStore, "outcomes" | "load">;
  readonly #clock: Clock;
  readonly #isHere: (sagaId: string) => boolean;
  readonly #watchers: TurnoverMap<Set<Watcher>> = new TurnoverMap();
  #isAsking = false;
  /** Why nobody tells any more, since then. */
  #stopped: { readonly reason: unknown } | undefined;
  #waitMs = pollMsMin;

  constructor(parts: {
    readonly store: Pick<SagaStore, "outcomes" | "load">;
    readonly clock: Clock;
    readonly isHere: (sagaId: string) => boolean;
  }) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#isHere = parts.isHere;
  }

  /** Rejects with the signal's reason when it aborts. */
  wait(sagaId: string, signal: AbortSignal | undefined): Promise<SagaOutcome> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      // It asked whether there is such a saga while it was stopped.
      if (this.#stopped !== undefined) return reject(this.#stopped.reason as Error);
      const watchers = this.#watchers.get(sagaId) ?? new Set<Watcher>();
      this.#watchers.set(sagaId, watchers);
      const onAbort = (): void => {
        watchers.delete(watcher);
        if (watchers.size === 0 && this.#watchers.get(sagaId) === watchers) {
          this.#watchers.delete(sagaId);
        }
        reject(signal?.reason as Error);
      };
      const watcher: Watcher = {
        resolve(outcome) {
          signal?.removeEventListener("abort", onAbort);
          resolve(outcome);
        },
        reject(error) {
          signal?.removeEventListener("abort", onAbort);
          reject(error as Error);
        },
      };
      watchers.add(watcher);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waitMs = pollMsMin;
      if (!this.#isHere(sagaId)) void this.#ask();
    });
  }

  /** Whether someone waits for it. */
  isAwaited(sagaId: string): boolean {
    return this.#watchers.has(sagaId);
  }

  /** Nobody will tell any more. */
  stop(reason: unknown): void {
    this.#stopped = { reason };
    for (const watchers of this.#watchers.values()) {
      for (const watcher of watchers) watcher.reject(reason);
    }
    this.#watchers.clear();
  }

  /** It came to this. */
  settle(sagaId: string, outcome: SagaOutcome): void {
    const watchers = this.#watchers.get(sagaId);
    if (watchers === undefined) return;
    this.#watchers.delete(sagaId);
    for (const watcher of watchers) watcher.resolve(outcome);
  }

  /** A saga is not driven here any more: whoever waits for it asks. */
  left(sagaId: string): void {
    if (this.#watchers.has(sagaId)) void this.#ask();
  }

  /** Asks for as long as there is someone to ask for. */
  async #ask(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      for (;;) {
        const ids = [...this.#watchers.keys()].filter((id) => !this.#isHere(id));
        if (ids.length === 0) return;
        for (let from = 0; from < ids.length; from += idsMax) {
          await this.#lookAt(ids.slice(from, from + idsMax));
        }
        await this.#clock.sleep(this.#waitMs);
        this.#waitMs = Math.min(pollMsMax, this.#waitMs * 1.5);
      }
    } finally {
      this.#isAsking = false;
    }
  }

  async #lookAt(ids: readonly string[]): Promise<void> {
    // A database that is away is asked again.
    const found = await this.#store.outcomes(ids).catch(() => []);
    for (const { sagaId, status, events } of found) {
      if (!isAtRest(status)) continue;
      const outcome =
        outcomeOf(status, events as readonly SagaEvent[]) ?? (await this.#searchJournal(sagaId));
      if (outcome !== undefined) this.settle(sagaId, outcome);
    }
  }

  /** Its last entry does not say what it came to: an earlier one does. */
  async #searchJournal(sagaId: string): Promise<SagaOutcome | undefined> {
    const [saga] = await this.#store.load([sagaId]).catch(() => []);
    if (saga === undefined) return undefined;
    return outcomeOf(saga.status, saga.journal.flat() as readonly SagaEvent[]);
  }
}
