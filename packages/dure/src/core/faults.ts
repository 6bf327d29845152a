/** The points at which a test can make a process die or fail. Each names what has just happened. */
export type FaultPoint =
  | "transaction.before-commit"
  | "transaction.after-commit"
  | "relay.after-take-over"
  | "relay.before-publish"
  | "relay.after-publish"
  | "relay.after-advance"
  | "inbox.before-handler"
  | "inbox.before-commit"
  | "inbox.after-commit"
  | "inbox.after-retry-sent"
  | "inbox.after-acknowledge";

/** Injected faults. Production runs with {@link noFaults}; a crash test kills the process in `hit`. */
export interface Faults {
  hit(point: FaultPoint): void | Promise<void>;
}

/** Nothing ever fails: the default. */
export const noFaults: Faults = { hit() {} };
