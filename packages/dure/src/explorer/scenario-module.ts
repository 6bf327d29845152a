import type { PostgresClient, PostgresResult } from "../postgres/pool.ts";

/**
 * What a module exports to be explored: a piece of business, how a service gets over its death, and what must
 * be true afterwards. Each function runs in a fresh process; nothing in memory goes from one to the other.
 */
export interface ScenarioModule {
  /** Fills the database once, before all runs: tables, migrations, the rows that the scenario needs. */
  prepare?(scene: Scene): void | Promise<void>;
  /** Does the business that is crashed. The process ends when it is done, whatever is still open. */
  scenario(scene: Scene): void | Promise<void>;
  /**
   * Brings the system to rest after the scenario's process is gone: starts the service as its next process
   * would, waits until it is quiet, and stops it. Whoever would ask again (a client that retries) asks here.
   */
  recover?(scene: Scene): void | Promise<void>;
  /** Reads what must come out the same, as JSON: without ids and times that differ from run to run. */
  observe?(scene: Scene): unknown;
  /** What must be true after every run. Each answers the problems that it found. */
  readonly invariants?: Readonly<Record<string, Invariant>>;
  /**
   * Every snapshot that may be, the fault-free one included, if it is not the only one.
   * @defaultValue `({ completed }) => [completed]`
   */
  outcomes?(snapshots: ReferenceSnapshots): readonly unknown[];
}

/** What `observe` answered without a fault. */
export interface ReferenceSnapshots {
  /** After the scenario and its recovery. */
  readonly completed: unknown;
  /** After a recovery where there was no scenario. */
  readonly untouched: unknown;
}

/** Answers what is wrong, one sentence each; nothing if all is well. */
export type Invariant = (scene: Scene) => readonly string[] | Promise<readonly string[]>;

/** What a scenario's functions get. The faults happen in `scenario` only; elsewhere everything is let through. */
export interface Scene {
  /** Of the run's own database; of the first, where `databases` names several. */
  readonly databaseUrl: string;
  /** By the names of `databases`. */
  readonly databaseUrls: Readonly<Record<string, string>>;
  /**
   * The pool, with a crash point before and after each statement. Hand this one to the service. It does what
   * the given one does, which stays yours to end. Where a scenario has several pools, each gets a name.
   */
  readonly explorerPool: <Pool extends ExplorablePool>(
    pool: Pool,
    options?: ExplorerPoolOptions,
  ) => Pool;
  /** A crash point where something happens that is no statement: `point("reply.sent")`, or around a call. */
  readonly point: PointFunction;
}

/** Which of a pool's statements are crash points, and what they are called. */
export interface ExplorerPoolOptions {
  /**
   * Put before each statement's name, with a space: `payment dure:outbox.append`. Two services run the same
   * statements beside each other; without it their counts would be one, and another in each run.
   * @defaultValue nothing
   */
  readonly name?: string;
  /**
   * Asked before each statement, by its own name: one for which it answers false is let through, uncounted. Leave
   * out what polls in the background, and what comes before and after the business that is crashed.
   * @defaultValue `() => true`
   */
  readonly only?: (statement: string) => boolean;
}

/** See {@link Scene.point}. */
export interface PointFunction {
  /** The process may die here. */
  (name: string): void;
  /** The process may die before and after `call`; or its answer is lost, and an error comes instead. */
  <Answer>(name: string, call: () => Answer | Promise<Answer>): Promise<Answer>;
}

/** A pool whose statements can be seen: that of `pg`, or what has its shape. */
export interface ExplorablePool {
  connect(): Promise<Pick<PostgresClient, "query" | "release">>;
  query(text: string, params?: readonly unknown[]): Promise<PostgresResult>;
}
