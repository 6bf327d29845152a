import type { Clock } from "dure";
import type { FastifyReply } from "fastify";
import { ProblemError } from "../chassis/problem.ts";
import type { Admission } from "./admission.ts";
import type { FaultInjector } from "./faults.ts";

/** What a request came to before the weather had its say. */
export interface Outcome<T> {
  readonly body: T;
  readonly isReplayed: boolean;
  /** The card that answers after a minute. */
  readonly isSlow: boolean;
}

/** Everything between the provider's door and its book: the crowd, the waits and the faults. */
export interface Weather {
  /**
   * Runs the work as one of few and lets go wrong what is due to. The effect of the work stays
   * when only its answer is lost; nothing is there to send then.
   */
  endure<T>(reply: FastifyReply, work: () => Promise<Outcome<T>>): Promise<T | void>;
}

/** What the weather is made of. */
export interface WeatherOptions {
  readonly admission: Admission;
  readonly faults: FaultInjector;
  readonly clock: Clock;
  /** Aborts when the service stops, so that nobody waits for the slow card then. */
  readonly stopping: AbortSignal;
}

const slowCardMs = 60_000;

/** The weather of one provider. */
export function createWeather(options: WeatherOptions): Weather {
  const { admission, faults, clock, stopping } = options;
  return {
    endure: (reply, work) =>
      admission.admit(async () => {
        const gone = AbortSignal.any([stopping, disconnected(reply)]);
        const mishap = faults.next();
        if (mishap.latencyMs > 0) await clock.sleep(mishap.latencyMs, gone);
        if (mishap.kind === "unavailable") {
          throw new ProblemError("NOT_READY", "The provider is out of order.", {
            retryAfterMs: 1000,
          });
        }
        if (mishap.kind === "disconnect") return hangUp(reply);
        const outcome = await work();
        if (outcome.isSlow) await clock.sleep(slowCardMs, gone);
        if (mishap.kind === "answer-lost") return hangUp(reply);
        if (outcome.isReplayed) reply.header("idempotent-replayed", "true");
        return outcome.body;
      }),
  };
}

/** A caller that gave up makes room for the next one. */
function disconnected(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once("close", () => controller.abort());
  return controller.signal;
}

/** Breaks the connection. Fastify sends nothing for a hijacked reply. */
function hangUp(reply: FastifyReply): void {
  reply.hijack();
  reply.raw.destroy();
}
