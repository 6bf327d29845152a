import { backoffMs } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { redisCommand } from "./redis-client.ts";
import type { RedisClient } from "./redis-client.ts";

/** What waiting for news is made of. */
export interface DoorbellParts {
  /** A connection of its own: everything else on it would wait. */
  readonly blockingClient: RedisClient;
  readonly bell: string;
  readonly clock: Clock;
  readonly onNews: (partitions: readonly number[]) => void;
}

const blockMs = 1_000;

/**
 * Waits in Redis for news, for all subscriptions of a process together. What it hears only saves time: news that
 * is lost is found by looking. Runs until the signal aborts; never rejects.
 */
export async function listenForNews(parts: DoorbellParts, signal: AbortSignal): Promise<void> {
  const { blockingClient, bell, clock, onNews } = parts;
  let last = "$";
  let failures = 0;
  while (!signal.aborted) {
    try {
      const reply = await redisCommand(
        blockingClient,
        ["XREAD", "COUNT", "100", "BLOCK", `${blockMs}`, "STREAMS", bell, last],
        { timeoutMs: blockMs + 3_000, signal },
      );
      failures = 0;
      const entries = entriesOf(reply);
      if (entries.length === 0) continue;
      last = entries.at(-1)?.id ?? last;
      onNews([...new Set(entries.flatMap(({ partitions }) => partitions))]);
    } catch {
      // Consumers say what is wrong with Redis; here it is only waited for.
      failures += 1;
      last = "$";
      await clock.sleep(backoffMs(failures, { baseMs: 50, maxMs: 2_000 }, clock), signal);
    }
  }
}

/** RESP2 answers with an array of (name, entries), RESP3 with a map of them. */
function entriesOf(reply: unknown): readonly { id: string; partitions: readonly number[] }[] {
  if (typeof reply !== "object" || reply === null) return [];
  let first: unknown;
  if (reply instanceof Map) first = [...reply.values()][0];
  else if (!Array.isArray(reply)) first = Object.values(reply)[0];
  // ioredis may flatten the map: name, entries.
  else first = typeof reply[0] === "string" ? reply[1] : (reply[0] as readonly unknown[])[1];
  return (first as readonly [string, readonly string[]][]).map(([id, fields]) => ({
    id,
    partitions: (fields[1] ?? "").split(",").map(Number),
  }));
}
