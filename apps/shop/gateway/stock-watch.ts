import { backoffMs, describeError, systemClock } from "dure";
import type { Clock, Subscription } from "dure";
import type { Logger } from "pino";
import { z } from "zod";
import type { Broker } from "../chassis/opened-broker.ts";
import { StockChanged } from "../contracts/events.ts";

const StockChangedData = z.object({ productIds: z.array(z.string()) });

/** What {@link watchStock} takes. */
export interface StockWatchOptions {
  readonly broker: Broker;
  readonly logger: Logger;
  readonly onChanged: (productId: string) => void;
  readonly clock?: Clock;
}

/**
 * Tells which products have changed, from now on. Nothing is kept and nothing is written, so there is no
 * inbox: an event that is missed while the log is unreachable only lets the cache age by itself.
 *
 * @returns how to end it
 */
export function watchStock(options: StockWatchOptions): () => Promise<void> {
  const stopping = new AbortController();
  const watching = watch(options, stopping.signal);
  return async () => {
    stopping.abort();
    await watching;
  };
}

async function watch(options: StockWatchOptions, signal: AbortSignal): Promise<void> {
  const clock = options.clock ?? systemClock;
  let subscription: Subscription | undefined;
  let failures = 0;
  while (!signal.aborted) {
    try {
      subscription ??= await subscribe(options.broker);
      await forwardChanges(subscription, options.onChanged, signal);
      failures = 0;
      await subscription.wait(1_000, signal);
    } catch (error) {
      failures += 1;
      if (failures === 1) {
        options.logger.warn({ error: describeError(error) }, "stock events cannot be read");
      }
      await clock.sleep(backoffMs(failures, { baseMs: 200, maxMs: 5_000 }, clock), signal);
    }
  }
  await subscription?.close().catch(() => undefined);
}

async function subscribe({ transport, prepare }: Broker): Promise<Subscription> {
  await prepare();
  return transport.subscribe({ group: "gateway", topics: [StockChanged.topic], from: "latest" });
}

async function forwardChanges(
  subscription: Subscription,
  onChanged: (productId: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const batches = await subscription.fetch({ busy: new Set(), maxMessages: 500, signal });
  for (const batch of batches) {
    for (const { message } of batch.deliveries) {
      if (message.type !== StockChanged.type) continue;
      const change = StockChangedData.safeParse(JSON.parse(message.data));
      for (const productId of change.data?.productIds ?? []) onChanged(productId);
    }
    await subscription.acknowledge(batch, batch.deliveries.length);
  }
}
