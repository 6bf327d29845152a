/** An event that waits for too long is said once at each limit, and again only after it was over. */
import { expect, it } from "vitest";
import type { AdminStore, PendingEvent } from "../admin/admin-store.ts";
import type { LogFacts } from "../core/logger.ts";
import { manualClock } from "../testing/manual-clock.ts";
import { watchBacklog } from "./backlog-watch.ts";

it("is warned of after five minutes and an alert after an hour, once each, and is not confused by a database that is away", async () => {
  const clock = manualClock();
  const lines: string[] = [];
  const say = (level: string) => (message: string, facts?: LogFacts) => {
    lines.push(`${level} ${message.split(":")[0] ?? ""} ${String(facts?.["seconds"])}`);
  };
  const logger = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
  let oldest: PendingEvent | Error | undefined;
  // The only method that the watch may use.
  const admin = {
    oldestPending: () =>
      oldest instanceof Error ? Promise.reject(oldest) : Promise.resolve(oldest),
  } as AdminStore;
  const stop = new AbortController();
  const limits = { warningMs: 300_000, alertMs: 3_600_000 };
  const watching = watchBacklog({ service: "s", admin, limits, clock, logger }, stop.signal);
  const look = async (next: typeof oldest): Promise<readonly string[]> => {
    await expect.poll(() => clock.sleeperCount).toBe(1);
    oldest = next;
    clock.advance(60_000);
    await expect.poll(() => clock.sleeperCount).toBe(1);
    return lines.splice(0);
  };
  const waiting = (seconds: number): PendingEvent => {
    return { id: "e", topic: "t", type: "t.x", shard: 1, seconds };
  };
  expect(await look(waiting(299))).toEqual([]);
  const warning = "warn an event has been waiting for long to be published";
  expect(await look(waiting(301))).toEqual([`${warning} 301`]);
  expect(await look(waiting(361))).toEqual([]);
  expect(await look(new Error("away"))).toEqual([]);
  expect(await look(waiting(3_599))).toEqual([]);
  expect(await look(waiting(3_600))).toEqual(["error EVENT_STUCK 3600"]);
  expect(await look(waiting(9_000))).toEqual([]);
  expect(await look(undefined)).toEqual([]);
  expect(await look(waiting(4_000))).toEqual([`${warning} 4000`, "error EVENT_STUCK 4000"]);
  stop.abort();
  await watching;
});
