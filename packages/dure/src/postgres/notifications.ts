import { createHash } from "node:crypto";
import { settledWithin } from "../core/abort.ts";
import type { Clock } from "../core/clock.ts";
import { backoffMs } from "../core/backoff.ts";
import { describeError } from "../core/errors.ts";
import { newId } from "../core/id.ts";
import type { Logger } from "../core/logger.ts";
import type { PostgresClient, PostgresPool } from "./pool.ts";

/** How news reaches this process: by NOTIFY, or only by looking (behind a transaction-mode pooler). */
export type NotificationMode = "notify" | "polling";

/** Told of what there is news, where that is known. */
export type NewsListener = (subjects?: readonly string[]) => void;

/** Sets news apart from a self-test's own text. */
const newsMark = "news ";

/** What notifications are made of. */
export interface NotificationParts {
  readonly pool: PostgresPool;
  /** Where to listen: `pool`, or one that goes past a pooler. */
  readonly listenPool: PostgresPool;
  /** What sets this use of the database apart from others. */
  readonly name: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** At most one NOTIFY in this time: it takes a lock on the whole server at its commit. */
const debounceMs = 5;
const selfTestMs = 2_000;
/** A connection that does not answer for so long is given up. */
const answerMsMax = 30_000;
/** How often to try whether notifications arrive: the server may only have been busy, or the network have gone silent. */
const selfTestEveryMs = 60_000;
/** A pooler hands out first what it got back last, so the first try tells, unless others are quicker. */
const sharedTriesMax = 10;
const serverProcess = "/* dure:notify.server-process */ select pg_backend_pid() as pid";

/** The channel for one use of the database, whatever its name looks like. */
function channelOf(name: string): string {
  return `dure_${createHash("sha256").update(name).digest("hex").slice(0, 24)}`;
}

/** Sends one piece of news, in a statement of its own. Never rejects: a lost hint is found by looking. */
export async function tellOnce(
  pool: PostgresPool,
  name: string,
  subjects: readonly string[] = ["*"],
): Promise<void> {
  if (subjects.length === 0) return;
  const news = `${newsMark}- ${subjects.join()}`;
  await pool
    .query("/* dure:notify */ select pg_notify($1, $2)", [channelOf(name), news])
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
  /** Tells our own notifications, whose news this process had before it sent them. */
  readonly #token: string;
  readonly #subjects: Set<string> = new Set();
  readonly #listeners: Set<NewsListener> = new Set();
  readonly #stop: AbortController = new AbortController();
  #listening: Promise<void> | undefined;
  #sending: Promise<void> = Promise.resolve();
  #isSending = false;
  #isWanted = false;
  #mode: NotificationMode | undefined;
  #isInterrupted = false;

  constructor(parts: NotificationParts) {
    this.#parts = parts;
    this.#channel = channelOf(parts.name);
    this.#token = newId(parts.clock);
  }

  /** Undefined until the round-trip self-test has ended. */
  get mode(): NotificationMode | undefined {
    return this.#mode;
  }

  /** Calls `listener` at each piece of news from other processes. Begins to listen with the first. Returns how to end it. */
  listen(listener: NewsListener): () => void {
    this.#listeners.add(listener);
    this.#listening ??= this.#listenUntilStopped();
    return () => this.#listeners.delete(listener);
  }

  /**
   * Tells the other processes that there is news, and of what if that is known; many calls become one
   * NOTIFY. Never rejects, never waits.
   */
  tell(subjects: readonly string[] = ["*"]): void {
    for (const subject of subjects) this.#subjects.add(subject);
    this.#isWanted = true;
    if (this.#isSending || this.#stop.signal.aborted) return;
    this.#isSending = true;
    this.#sending = this.#send();
  }

  async #send(): Promise<void> {
    const { clock } = this.#parts;
    while (this.#isWanted && !this.#stop.signal.aborted) {
      this.#isWanted = false;
      // A lost hint is found by looking, so a failure here needs nobody's attention.
      const subjects = this.#subjects.has("*") ? ["*"] : [...this.#subjects];
      this.#subjects.clear();
      await this.#notify(`${newsMark}${this.#token} ${subjects.join()}`).catch(() => undefined);
      await clock.sleep(debounceMs, this.#stop.signal);
    }
    this.#isSending = false;
  }

  async #notify(payload: string): Promise<void> {
    const params = [this.#channel, payload];
    await this.#parts.pool.query("/* dure:notify */ select pg_notify($1, $2)", params);
  }

  async #listenUntilStopped(): Promise<void> {
    const { clock, logger, name } = this.#parts;
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted) {
      const startedAt = clock.monotonic();
      try {
        await this.#listenOnce(signal);
        if (this.#mode === "polling") await clock.sleep(selfTestEveryMs, signal);
      } catch (error) {
        if (clock.monotonic() - startedAt > 10_000) failures = 0;
        failures += 1;
        if (failures === 1 && !signal.aborted) {
          this.#isInterrupted = true;
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

  /** Resolves when notifications do not arrive, or when stopped; rejects when the connection is lost. */
  async #listenOnce(signal: AbortSignal): Promise<void> {
    const client = await this.#parts.listenPool.connect();
    const over = new AbortController();
    const gone = Promise.withResolvers<never>();
    client.on("error", gone.reject);
    client.on("end", () => gone.reject(new Error("the connection has ended")));
    const stop = (): void => gone.reject(new Error("stopped"));
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      await Promise.race([gone.promise, this.#converse(client, over.signal)]);
    } finally {
      over.abort();
      signal.removeEventListener("abort", stop);
      client.removeAllListeners("notification");
      // A connection that was listening is not given to others: it might still be, and it has our listeners.
      client.release(true);
    }
  }

  async #converse(client: PostgresClient, signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    const arrivals = new Map<string, () => void>();
    client.on("notification", ({ payload = "" }) => {
      arrivals.get(payload)?.();
      if (payload.startsWith(newsMark)) this.#hear(payload.slice(newsMark.length));
    });
    if (await this.#isShared(client, signal)) return this.#report("polling");
    await answered(client.query(`listen ${this.#channel}`));
    // What was told before we listened is found by looking now.
    for (const listener of this.#listeners) listener();
    let isFirst = true;
    while (!signal.aborted) {
      const arrives = await this.#selfTest(arrivals, signal);
      if (signal.aborted) return;
      // It did before: the connection is at fault, or the network between.
      if (!arrives && !isFirst) throw new Error("a test notification did not arrive");
      if (isFirst) this.#report(arrives ? "notify" : "polling");
      if (!arrives) return;
      isFirst = false;
      await clock.sleep(selfTestEveryMs, signal);
    }
  }

  #hear(news: string): void {
    const [token, subjects = "*"] = news.split(" ");
    if (token === this.#token) return;
    for (const listener of this.#listeners)
      listener(subjects === "*" ? undefined : subjects.split(","));
  }

  /**
   * Whether a notification with a text of its own arrives, sent over another connection. By its text,
   * because behind a pooler one that was meant for another may come by chance.
   */
  async #selfTest(arrivals: Map<string, () => void>, signal: AbortSignal): Promise<boolean> {
    const { clock } = this.#parts;
    const payload = newId(clock);
    const over = new AbortController();
    const end = (): void => over.abort();
    signal.addEventListener("abort", end, { once: true });
    let arrives = false;
    arrivals.set(payload, () => {
      arrives = true;
      end();
    });
    try {
      await this.#notify(payload);
      await clock.sleep(selfTestMs, over.signal);
      return arrives;
    } finally {
      arrivals.delete(payload);
      signal.removeEventListener("abort", end);
    }
  }

  /** Says once which mode is live. A transaction-mode pooler accepts LISTEN and never delivers. */
  #report(mode: NotificationMode): void {
    const { logger, name } = this.#parts;
    const isSame = mode === this.#mode;
    this.#mode = mode;
    if (isSame && this.#isInterrupted) logger.info("notifications go on", { name });
    this.#isInterrupted = false;
    if (isSame) return;
    if (mode === "notify") logger.info("news arrives by NOTIFY", { name });
    else
      logger.warn("NOTIFY does not arrive (a transaction-mode pooler?): news is found by polling", {
        name,
      });
  }

  /**
   * Whether others are given the server process of our connection between our statements. Found out first
   * where it can be: LISTEN would stay behind on a connection of the pooler's, where nobody hears it.
   */
  async #isShared(client: PostgresClient, signal: AbortSignal): Promise<boolean> {
    const { pool } = this.#parts;
    for (let tries = 0; tries < sharedTriesMax && !signal.aborted; tries += 1) {
      const ours = await answered(client.query(serverProcess));
      const theirs = await pool.query(serverProcess);
      if (ours.rows[0]?.["pid"] === theirs.rows[0]?.["pid"]) return true;
    }
    return false;
  }

  /** Stops listening and telling. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.#listening, this.#sending]);
  }
}

async function answered<Answer>(answer: Promise<Answer>): Promise<Answer> {
  if (await settledWithin(answer, answerMsMax)) return answer;
  throw new Error(`no answer within ${answerMsMax} ms`);
}
