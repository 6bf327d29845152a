import { createDure, event } from "dure";
import type { Dure, EventDefinition, Transport } from "dure";
import { postgresStore } from "dure/postgres";
import type { Pool, PoolClient } from "pg";
import { z } from "zod";

/** What an event of the bench says. */
export interface MeasuredData {
  readonly id: string;
  /** Counts the events, for whoever needs to tell them apart. */
  readonly n: number;
  readonly text: string;
}

/** About 200 bytes as JSON; the peers and the plain table carry the same. */
export const text: string = "x".repeat(170);

/** The event of all cases. */
export const Measured: EventDefinition<MeasuredData, MeasuredData> = event("bench.measured", {
  version: 1,
  schema: z.object({ id: z.string(), n: z.int(), text: z.string() }),
  key: (data) => data.id,
});

/** Data with the given number and one of 10,000 keys, drawn at random. */
export function randomData(n = 0): MeasuredData {
  return { id: `k${Math.floor(Math.random() * 10_000)}`, n, text };
}

/** A service that writes events and relays none. */
export function writingService(pool: Pool): Dure<PoolClient> {
  return createDure({ service: "bench", store: postgresStore({ pool }) });
}

/** A transport that accepts everything at once, and remembers when it was given how much. */
export interface NullSink {
  readonly transport: Transport;
  readonly count: number;
  readonly firstCount: number;
  readonly firstAt: number;
}

/** Makes a {@link NullSink}. */
export function createNullSink(): NullSink {
  const state = { count: 0, firstCount: 0, firstAt: 0 };
  const transport: Transport = {
    name: "null",
    check: () => Promise.resolve(),
    close: () => Promise.resolve(),
    publish(messages) {
      if (state.count === 0) {
        state.firstAt = performance.now();
        state.firstCount = messages.length;
      }
      state.count += messages.length;
      return Promise.resolve(messages.map(() => ({ kind: "accepted" }) as const));
    },
    subscribe: () => Promise.reject(new Error("the null sink has no subscribers")),
  };
  return {
    transport,
    get count() {
      return state.count;
    },
    get firstCount() {
      return state.firstCount;
    },
    get firstAt() {
      return state.firstAt;
    },
  };
}

/** A service that relays to the sink; it may write as well. Stop it. */
export function relayingService(pool: Pool, sink: NullSink): Dure<PoolClient> {
  return createDure({
    service: "bench",
    store: postgresStore({ pool }),
    transport: sink.transport,
  });
}
