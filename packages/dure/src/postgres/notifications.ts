import { createHash } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { backoffMs } from "../core/backoff.ts";
import { describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { PostgresClient, PostgresPool } from "./pool.ts";

/** How news reaches this process: by NOTIFY, or only by looking (behind a transaction-mode pooler). */
export type NotificationMode = "notify" | "polling";

/** What notifications are made of. */
export interface NotificationParts {
  readonly pool: PostgresPool;
  /** What sets this use of the database apart from others. */
  readonly name: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** At most one NOTIFY in this time: it takes a lock on the whole server at its commit. */
const debounceMs = 5;
const selfTestMs = 2_000;
/** How long to go by looking alone before NOTIFY is tried again: the server may only have been busy. */
const pollingMs = 60_000;

/** The channel for one use of the database, whatever its name looks like. */
function channelOf(name: string): string {
  return `dure_${createHash("sha256").update(name).digest("hex").slice(0, 24)}`;
}

/** Sends one piece of news, in a statement of its own. Never rejects: a lost hint is found by looking. */
export async function tellOnce(pool: PostgresPool, name: string): Promise<void> {
  await pool
    .query("/* dure:notify */ select pg_notify($1, '')", [channelOf(name)])
    .catch(() => undefined);
}

/**
 * News between processes, and only a hint: whoever misses it finds out by looking. NOTIFY is sent from
 * statements of its own, never in a business transaction, where it would make all commits of the server
 * wait for each other.
 */
export class Notifications {
  readonly #parts: NotificationParts;
  readonly #channel: string;
  readonly #listeners: Set<() => void> = new Set();
  readonly #stop: AbortController = new AbortController();
  #listening: Promise<void> | undefined;
  #sending: Promise<void> = Promise.resolve();
  #isSending = false;
  #isWanted = false;
  #mode: NotificationMode | undefined;

  constructor(parts: NotificationParts) {
    this.#parts = parts;
    this.#channel = channelOf(parts.name);
  }

  /** Undefined until the round-trip self-test has ended. */
  get mode(): NotificationMode | undefined {
    return this.#mode;
  }

  /** Calls `listener` at each piece of news. Begins to listen with the first. Returns how to end it. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#listening ??= this.#listenUntilStopped();
    return () => this.#listeners.delete(listener);
  }

  /** Tells the other processes that there is news; many calls become one NOTIFY. Never rejects, never waits. */
  tell(): void {
    this.#isWanted = true;
    if (this.#isSending || this.#stop.signal.aborted) return;
    this.#isSending = true;
    this.#sending = this.#send();
  }

  async #send(): Promise<void> {
    const { pool, clock, name } = this.#parts;
    while (this.#isWanted && !this.#stop.signal.aborted) {
      this.#isWanted = false;
      await tellOnce(pool, name);
      await clock.sleep(debounceMs, this.#stop.signal);
    }
    this.#isSending = false;
  }

  async #listenUntilStopped(): Promise<void> {
    const { clock, logger, name } = this.#parts;
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted) {
      const startedAt = clock.monotonic();
      try {
        await this.#listenOnce(signal);
        if (this.#mode === "polling") await clock.sleep(pollingMs, signal);
      } catch (error) {
        if (clock.monotonic() - startedAt > 10_000) failures = 0;
        failures += 1;
        if (failures === 1 && !signal.aborted) {
          logger.warn("notifications are interrupted; news is found by polling meanwhile", {
            name,
            error: describeError(error),
          });
        }
      }
      if (!signal.aborted)
        await clock.sleep(backoffMs(failures + 1, { baseMs: 100, maxMs: 10_000 }, clock), signal);
    }
  }

  async #listenOnce(signal: AbortSignal): Promise<void> {
    const client = await this.#parts.pool.connect();
    try {
      const ended = new Promise<Error>((resolve) => {
        client.on("error", resolve);
        client.on("end", () => resolve(new Error("the connection has ended")));
      });
      const selfTest = this.#onNotification(client);
      await client.query(`listen ${this.#channel}`);
      await this.#selfTest(selfTest);
      if (this.#mode === "notify") {
        const aborted = new Promise<undefined>((resolve) => {
          if (signal.aborted) resolve(undefined);
          signal.addEventListener("abort", () => resolve(undefined), { once: true });
        });
        const error = await Promise.race([ended, aborted]);
        if (error !== undefined) throw error;
      }
    } finally {
      client.removeAllListeners("notification");
      // A connection that was listening is not given to others: it might still be, and it has our listeners.
      client.release(true);
    }
  }

  #onNotification(client: PostgresClient): Promise<void> {
    return new Promise((resolve) => {
      client.on("notification", () => {
        resolve();
        for (const listener of this.#listeners) listener();
      });
    });
  }

  /** Says once which mode is live. A transaction-mode pooler accepts LISTEN and never delivers. */
  async #selfTest(arrived: Promise<void>): Promise<void> {
    const { clock, logger, name } = this.#parts;
    const before = this.#mode;
    const stop = new AbortController();
    this.tell();
    const result = await Promise.race([
      arrived.then(() => "notify" as const),
      clock
        .sleep(selfTestMs, AbortSignal.any([stop.signal, this.#stop.signal]))
        .then(() => "polling" as const),
    ]);
    stop.abort();
    if (this.#stop.signal.aborted) return;
    this.#mode = result;
    if (before === result) return;
    if (result === "notify") logger.info("news arrives by NOTIFY", { name });
    else
      logger.warn("NOTIFY does not arrive (a transaction-mode pooler?): news is found by polling", {
        name,
      });
  }

  /** Stops listening and telling. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.#listening, this.#sending]);
  }
}
