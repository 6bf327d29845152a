/** What locks and guarded writes would do if they did one thing at a time. */
import type { Model } from "./linearizability.ts";

export type LeaseAsked =
  | { readonly kind: "acquire" | "renew"; readonly holder: string; readonly leaseMs: number }
  | { readonly kind: "release" | "believe"; readonly holder: string };

export type LeaseAnswered =
  | { readonly token: number }
  | { readonly isHeldByAnother: true }
  | { readonly is: boolean };

/** Who holds a lock, and until when at least, in milliseconds of the processes' common clock. */
export interface LeaseState {
  readonly holder: string | null;
  readonly token: number;
  readonly until: number;
}

/** Redis counts in milliseconds, and clocks differ in speed. */
const toleranceMs = 3;

/**
 * One lock. A lease may be over for another only when it can be: the store cannot have granted it before it was asked
 * to, so not before the request and the lease. A holder that believes that it holds it must be right.
 */
export const leaseModel: Model<LeaseState, LeaseAsked, LeaseAnswered> = {
  initial: { holder: null, token: 0, until: 0 },
  step(state, { asked, answer, invokedAt, answeredAt }) {
    const isOurs = state.holder === asked.holder;
    const canBeOver =
      state.holder === null || answer === undefined || answeredAt >= state.until - toleranceMs;
    const longest = "leaseMs" in asked ? Math.max(state.until, invokedAt + asked.leaseMs) : 0;
    if (asked.kind === "acquire") {
      if (answer === undefined) return { ...state, holder: asked.holder, until: 0 };
      if ("isHeldByAnother" in answer) return state.holder === null || isOurs ? undefined : state;
      if (!("token" in answer) || !(isOurs || canBeOver)) return undefined;
      if (answer.token <= state.token) return undefined;
      return { holder: asked.holder, token: answer.token, until: invokedAt + asked.leaseMs };
    }
    if (answer === undefined) {
      return isOurs && asked.kind === "release" ? { ...state, holder: null } : state;
    }
    if (!("is" in answer)) return undefined;
    if (!answer.is) return isOurs && !canBeOver ? undefined : state;
    if (!isOurs) return undefined;
    if (asked.kind === "renew") return { ...state, until: longest };
    return asked.kind === "release" ? { ...state, holder: null, until: 0 } : state;
  },
};

/** A write under a lock: it read a number and wrote the next. What it read is known also where its end is not. */
export interface WriteAsked {
  readonly token: number;
  readonly read: number | undefined;
}

/** A number that is read, and written one greater, under a token. */
export interface RegisterState {
  readonly value: number;
  readonly token: number;
}

/** Nothing that was written is lost, and no token is smaller than one before. What was refused has changed nothing. */
export const registerModel: Model<RegisterState, WriteAsked, { readonly isWritten: boolean }> = {
  initial: { value: 0, token: 0 },
  step(state, { asked, answer }) {
    if (answer?.isWritten === false) return state;
    if (asked.read !== state.value || asked.token < state.token) return undefined;
    return { value: state.value + 1, token: asked.token };
  },
};
