import type { Pool } from "pg";

/** Sagas of the library: as {@link DbosWork}, the one in transactions once by code and once by one statement a step. */
export type SagaWork = "plain" | "compensated" | "local" | "statement";

/** The library's sagas in one database, run by this process. */
export interface SagaLoad {
  start(): Promise<void>;
  /** Starts a saga of that kind and waits for its outcome. Throws when it is another than it must be. */
  run(work: SagaWork, id: string): Promise<void>;
  /** Starts a saga whose second step waits until the load was opened with `isHeld: false`; resolves when it is durable. */
  startHeld(id: string): Promise<void>;
  /** How many of those have come to their second step in this process. */
  readonly heldCount: number;
  stop(): Promise<void>;
}

/** What the cases need of the saga engine, its tables included. */
export interface SagaEngine {
  /** How long a process that has died keeps what it ran, in milliseconds. */
  readonly leaseMs: number;
  open(pool: Pool, options?: { readonly isHeld?: boolean }): Promise<SagaLoad>;
  /** How many held sagas have written the record of their second step. */
  countReleased(pool: Pool): Promise<number>;
  /** Adds so many sagas as if they had run and finished in the past days; says how far it is. */
  growFinished(pool: Pool, total: number, loaded: (count: number) => void): Promise<void>;
  /** Adds so many that wait for an answer, each with a timer that does not go off while it is measured. */
  growWaiting(pool: Pool, total: number, loaded: (count: number) => void): Promise<void>;
}

/** Undefined until the library has one: then only the peers are measured. */
export const sagaEngine: SagaEngine | undefined = undefined as SagaEngine | undefined;

/** Runs one saga after the other under an id of its own. */
export function countingSagas(sagas: SagaLoad): (work: SagaWork) => Promise<void> {
  let count = 0;
  return (work) => {
    count += 1;
    return sagas.run(work, `o-${count}`);
  };
}
