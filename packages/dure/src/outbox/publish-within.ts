import { DureError } from "../core/errors.ts";
import type { Message } from "../core/message.ts";
import type { Fence, Publisher, PublishOutcome } from "../core/transport.ts";

/**
 * Publishes, and waits no longer than this for the outcome: a relay whose broker says nothing would hold its
 * shards for as long as its process renews the lease. What was given up and arrives late after all is a
 * copy, which consumers drop. A stop waits for the answer too: to give up at once would only make copies.
 *
 * @throws BROKER_UNAVAILABLE when there was no answer: the outcome is unknown
 */
export async function publishWithin(
  publisher: Publisher,
  messages: readonly Message[],
  fences: readonly Fence[],
  msMax: number,
): Promise<readonly PublishOutcome[]> {
  const givenUp = Promise.withResolvers<never>();
  const late = new AbortController();
  const timer = setTimeout(() => {
    const what = `the transport did not answer within ${msMax} ms: ${messages.length} events are sent again`;
    givenUp.reject(new DureError("BROKER_UNAVAILABLE", what));
    late.abort();
  }, msMax);
  try {
    const published = publisher.publish(messages, { fences, signal: late.signal });
    return await Promise.race([published, givenUp.promise]);
  } finally {
    clearTimeout(timer);
  }
}
