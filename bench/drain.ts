import type { Dure } from "dure";
import type { Pool, PoolClient } from "pg";
import { untilCount, writers } from "./load.ts";
import { createNullSink, Measured, relayingService, text, writingService } from "./service.ts";

/** Events that one loading transaction emits. */
const chunk = 500;

/** Two ways of counting one drain, both until the relay has recorded what it published and has stopped. */
export interface DrainRates {
  /** From the first publication on: without the start of the relay, what it took to read the first batch, and that batch. */
  readonly fromFirst: number;
  /** From the call of `start`: with the checks, the lease and the take-over of the shards. */
  readonly fromStart: number;
}

/** Writes the backlog as a service would: in transactions, by turns over so many keys. */
export async function loadBacklog(pool: Pool, total: number, keys: number): Promise<void> {
  const dure = writingService(pool);
  await writeBacklog(dure, total, keys);
  await dure.stop();
}

/** The same by a service that is there; it goes on. */
export async function writeBacklog(
  dure: Dure<PoolClient>,
  total: number,
  keys: number,
): Promise<void> {
  let next = 0;
  const load = async (): Promise<void> => {
    while (next < total) {
      const from = next;
      next = Math.min(total, from + chunk);
      const to = next;
      await dure.transaction((tx) => {
        for (let n = from; n < to; n += 1) tx.emit(Measured, { id: `k${n % keys}`, n, text });
        return Promise.resolve();
      });
    }
  };
  await Promise.all(Array.from({ length: writers / 2 }, load));
}

/** Relays a backlog of known size to nothing. The outbox must hold nothing else that is pending. */
export async function drain(pool: Pool, total: number): Promise<DrainRates> {
  const sink = createNullSink();
  const relay = relayingService(pool, sink);
  const startedAt = performance.now();
  await relay.start();
  try {
    await untilCount("published events", () => sink.count, total);
  } finally {
    await relay.stop();
  }
  const endedAt = performance.now();
  const { pending } = await relay.status();
  if (pending > 0 || sink.count !== total) {
    throw new Error(`${sink.count} of ${total} were published, ${pending} are pending`);
  }
  return {
    fromFirst: ((total - sink.firstCount) * 1_000) / (endedAt - sink.firstAt),
    fromStart: (total * 1_000) / (endedAt - startedAt),
  };
}

/** Publishes to nothing whatever is pending, so that it does not count for what comes next. */
export async function empty(pool: Pool): Promise<void> {
  const writer = writingService(pool);
  const count = async (): Promise<number> => (await writer.status()).pending;
  // More than once: what is pending is counted up to 100,000 only.
  for (let pending = await count(); pending > 0; pending = await count()) {
    await publish(pool, pending);
  }
  await writer.stop();
}

/** Relays at least so many, and what is read with them. */
async function publish(pool: Pool, expected: number): Promise<void> {
  const sink = createNullSink();
  const relay = relayingService(pool, sink);
  await relay.start();
  try {
    await untilCount("emptied events", () => sink.count, expected, 10);
  } finally {
    await relay.stop();
  }
}
