import { systemClock } from "dure";
import type { Clock } from "dure";
import type { HttpApp } from "../chassis/http-app.ts";
import { ProblemError } from "../chassis/problem.ts";
import { createTokenBuckets } from "./token-bucket.ts";

const burst = 1000;
const perSecond = 100;

/** Limits each principal to 100 requests a second, after a burst of 1,000. */
export function limitRates(app: HttpApp, clock: Clock = systemClock): void {
  const buckets = createTokenBuckets({ burst, perSecond, nowMs: () => clock.monotonic() });
  // After the chassis has found out who asks; public routes have nobody to count for.
  app.addHook("onRequest", async (request) => {
    if (request.principal === undefined) return;
    const taken = buckets.take(request.principal.userId);
    if (taken.isAllowed) return;
    throw new ProblemError("RATE_LIMITED", `More than ${perSecond} requests a second.`, {
      retryAfterMs: taken.retryAfterMs,
    });
  });
}
