import { backoffMs } from "../core/backoff.ts";
import type { RetryPolicy } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";

interface Outage {
  failures: number;
  probeAt: number;
}

/**
 * The topics that the broker cannot take now, and when to ask again. In memory only: whoever comes next
 * learns it by its first try.
 */
export class TopicBackoff {
  readonly #outages: Map<string, Outage> = new Map();
  readonly #policy: Pick<RetryPolicy, "baseMs" | "maxMs">;
  readonly #clock: Clock;

  constructor(policy: Pick<RetryPolicy, "baseMs" | "maxMs">, clock: Clock) {
    this.#policy = policy;
    this.#clock = clock;
  }

  /** Whether messages of the topic wait: until a probe was accepted. */
  isOut(topic: string): boolean {
    return this.#outages.has(topic);
  }

  /** The topics that are out: those to be left alone now, and those of which one message may be tried. */
  topics(): { readonly closed: readonly string[]; readonly probed: readonly string[] } {
    const now = this.#clock.monotonic();
    const byTurn = Map.groupBy(this.#outages, ([, { probeAt }]) => probeAt <= now);
    const names = (isDue: boolean): readonly string[] =>
      (byTurn.get(isDue) ?? []).map(([topic]) => topic);
    return { closed: names(false), probed: names(true) };
  }

  /** When the next probe is due, on the monotonic clock; Infinity when no topic is out. */
  get nextProbeAt(): number {
    return Math.min(...[...this.#outages.values()].map(({ probeAt }) => probeAt));
  }

  /** The topic did not take a message. Says whether that is news. */
  fail(topic: string): boolean {
    const outage = this.#outages.get(topic) ?? { failures: 0, probeAt: 0 };
    this.#outages.set(topic, outage);
    outage.failures += 1;
    outage.probeAt =
      this.#clock.monotonic() + backoffMs(outage.failures, this.#policy, this.#clock);
    return outage.failures === 1;
  }

  /** The topic answers again, or nothing is left to ask it with. Says whether it was out. */
  recover(topic: string): boolean {
    return this.#outages.delete(topic);
  }
}
