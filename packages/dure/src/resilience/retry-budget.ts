/** Retries that calls have earned: each call a share of one. */
export interface RetryBudget {
  /** A call has begun. */
  earn(): void;
  /** Takes one retry. False: there is none. */
  spend(): boolean;
  readonly left: number;
}

/** A budget that has its reserve at first, and saves up no more than that. Units of a millionth: no rounding adds up. */
export function createRetryBudget(share: number, reserve: number): RetryBudget {
  const whole = 1_000_000;
  const most = reserve * whole;
  let left = most;
  return {
    earn() {
      left = Math.min(left + Math.round(share * whole), Math.max(most, whole));
    },
    spend() {
      if (left < whole) return false;
      left -= whole;
      return true;
    },
    get left() {
      return left / whole;
    },
  };
}
