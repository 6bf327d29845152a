import { createAlerts } from "../core/alerts.ts";
import type { Alerts } from "../core/alerts.ts";
import { backoffMs } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { DureError, describeError } from "../core/errors.ts";
import { newId } from "../core/id.ts";
import { createTrouble } from "../core/trouble.ts";
import type { FeedParts, OutboxFeed } from "../outbox/outbox-feed.ts";
import type { OutboxStore } from "../outbox/outbox-store.ts";
import { postgresClaims } from "./claims.ts";
import type { Claims } from "./claims.ts";
import { claimsSql } from "./claims-sql.ts";
import { postgresOutboxStore } from "./outbox-store.ts";
import type { PostgresPool } from "./pool.ts";
import { sqlStateOf, translateSqlError } from "./sqlstate.ts";
import { walSql } from "./wal-sql.ts";
import type { WalSql } from "./wal-sql.ts";
import type { WalOptions } from "./wal-options.ts";
import { WalReading } from "./wal-reading.ts";

/** What the feed is made of. */
interface WalFeedParts {
  readonly pool: PostgresPool;
  /** Quoted. */
  readonly schema: string;
  readonly store: OutboxStore;
  readonly options: WalOptions;
}

/** The feed of the outbox in this schema, which is quoted. */
export function walFeed(pool: PostgresPool, schema: string, options: WalOptions): OutboxFeed {
  return new WalFeed({
    pool,
    schema,
    options,
    store: postgresOutboxStore(pool, schema, { isFed: true }),
  });
}

/** The claims' scope of the one slot. */
const scope = "wal";

/**
 * The feed of committed events by logical replication. One process of the service reads the slot: the one that
 * holds the claim, by lease on the database's clock; it ends the connection of a holder that was frozen. The slot
 * is acknowledged up to what the relay has published and recorded, and never further.
 */
class WalFeed implements OutboxFeed {
  readonly #parts: WalFeedParts;
  readonly #sql: WalSql;
  readonly #claims: Claims;
  #memberId = "";

  constructor(parts: WalFeedParts) {
    this.#parts = parts;
    this.#sql = walSql(parts.schema);
    this.#claims = postgresClaims(parts.pool, claimsSql(parts.schema));
  }

  async check(): Promise<void> {
    const { wal_level: level } = await this.#settings();
    if (level === "logical") return;
    throw new DureError(
      "WAL_UNAVAILABLE",
      `the server's wal_level is "${String(level)}": set wal_level = logical in its configuration and restart it, or leave out postgresStore({ wal })`,
    );
  }

  async run(parts: FeedParts, signal: AbortSignal): Promise<void> {
    const { clock, logger, source, leaseMs } = parts;
    const trouble = createTrouble({
      clock,
      settleMs: leaseMs,
      say: (error) =>
        logger.warn("relay cannot read the write-ahead log and tries again", {
          source,
          error: describeError(error),
        }),
      sayOver: () => logger.info("relay reads the write-ahead log again", { source }),
    });
    let failures = 0;
    while (!signal.aborted) {
      try {
        if (await this.#claim(clock, leaseMs))
          await this.#hold(parts, signal, () => trouble.succeeded());
        failures = 0;
        await clock.sleep(leaseMs / 3, signal);
      } catch (error) {
        failures += 1;
        if (!signal.aborted) trouble.failed(error);
        await clock.sleep(backoffMs(failures, { baseMs: 50, maxMs: leaseMs }, clock), signal);
      }
    }
    if (this.#memberId === "") return;
    const leaving = { scope, id: this.#memberId, slots: [], isLeaving: true };
    await this.#claims.release(leaving).catch(() => undefined); // it ends with its lease
  }

  /** Whether we may read the slot for the next `leaseMs`. */
  async #claim(clock: Clock, leaseMs: number): Promise<boolean> {
    const isJoining = this.#memberId === "";
    if (isJoining) this.#memberId = newId(clock);
    const id = this.#memberId;
    const claims = await this.#claims.heartbeat({ scope, id, leaseMs, slots: 1, isJoining });
    if (claims === undefined) this.#memberId = "";
    return claims?.some(({ isSurplus }) => !isSurplus) ?? false;
  }

  /** Reads and relays until the signal aborts, the claim is lost or the stream ends. */
  async #hold(parts: FeedParts, signal: AbortSignal, onAlive: () => void): Promise<void> {
    const names = await this.#prepare(parts);
    const over = new AbortController();
    const reading = new WalReading({ ...this.#parts, sql: this.#sql, feed: parts, ...names });
    try {
      await reading.open(AbortSignal.any([signal, over.signal]));
      const alerts = createAlerts(parts.logger);
      await Promise.race([
        reading.ended,
        this.#keepClaim(parts, AbortSignal.any([signal, over.signal]), alerts, onAlive),
      ]);
    } finally {
      over.abort();
      await reading.close();
    }
  }

  /** Until the signal aborts or the claim is lost. */
  async #keepClaim(
    { clock, leaseMs, source }: FeedParts,
    signal: AbortSignal,
    alerts: Alerts,
    onAlive: () => void,
  ): Promise<void> {
    let heldUntil = clock.monotonic() + leaseMs;
    while (!signal.aborted) {
      await clock.sleep(leaseMs / 3, signal);
      if (signal.aborted) return;
      const askedAt = clock.monotonic();
      const isHeld = await this.#claim(clock, leaseMs).catch((error: unknown) => {
        if (clock.monotonic() >= heldUntil) throw error;
        return undefined;
      });
      if (isHeld === false) return;
      if (isHeld === undefined) continue;
      heldUntil = askedAt + leaseMs;
      onAlive();
      await this.#watchSlot(source, alerts).catch(() => undefined); // the next look says it
    }
  }

  async #watchSlot(source: string, alerts: Alerts): Promise<void> {
    const { lagBytesMax = 1_073_741_824 } = this.#parts.options;
    const slot = await this.#slot();
    const lagBytes = Number(slot?.["lag_bytes"] ?? 0);
    const facts = { source, lagBytes, walStatus: String(slot?.["wal_status"]) };
    alerts.warnWhile(
      lagBytes > lagBytesMax,
      "the relay is behind the write-ahead log: the server keeps it on its disk until the events are published",
      facts,
    );
    alerts.errorWhile(
      slot?.["wal_status"] === "unreserved",
      "the server is about to drop the write-ahead log that the relay has not read (max_slot_wal_keep_size)",
      facts,
    );
  }

  /**
   * Slot and publication stand, nobody else reads, and events may be written as they are to be.
   * @throws WAL_SLOT_LOST when events stood in the lost log alone: an operator has to see it
   */
  async #prepare({
    logger,
    source,
    clock,
    leaseMs,
  }: FeedParts): Promise<{ readonly slot: string; readonly publication: string }> {
    const { pool, options } = this.#parts;
    await this.check();
    await this.#ask(this.#sql.publish);
    const { slot: name, publication, tableless } = await this.#settings();
    const slot = await this.#slot();
    const isGone = slot === undefined || slot["wal_status"] === "lost";
    if (tableless === "lost" || (isGone && tableless === "on")) {
      await pool.query(this.#sql.setTableless, ["lost"]);
      throw slotLost(String(name));
    }
    if (isGone && slot !== undefined) {
      logger.error(
        "WAL_SLOT_LOST: the server has dropped the log that the relay had not read. Nothing is lost: the events stand in the table and are read there",
        { source, slot: String(name) },
      );
      await this.#endHolder(clock, leaseMs);
      await pool.query(this.#sql.dropSlot);
    }
    if (isGone) await this.#ask(this.#sql.createSlot);
    else await this.#endHolder(clock, leaseMs);
    if (options.tableless === true && tableless === "off") {
      await this.#ask(this.#sql.setTableless, ["on"]);
    }
    return { slot: String(name), publication: String(publication) };
  }

  /** Who reads the slot still has lost the claim: frozen, or behind a broken network. */
  async #endHolder(clock: Clock, waitMs: number): Promise<void> {
    const until = clock.monotonic() + waitMs;
    while (typeof (await this.#slot())?.["active_pid"] === "number" && clock.monotonic() < until) {
      await this.#parts.pool.query(this.#sql.endHolder);
      await clock.sleep(20);
    }
  }

  async #slot(): Promise<Readonly<Record<string, unknown>> | undefined> {
    const { rows } = await this.#parts.pool.query(this.#sql.slot);
    return rows[0];
  }

  async #settings(): Promise<Readonly<Record<string, unknown>>> {
    const { rows } = await this.#parts.pool.query(this.#sql.settings).catch((error: unknown) => {
      throw translateSqlError(error);
    });
    return rows[0] ?? {};
  }

  async #ask(text: string, params?: readonly unknown[]): Promise<void> {
    try {
      await this.#parts.pool.query(text, params);
    } catch (error) {
      // insufficient_privilege; and what says that the server is not set up for replication.
      if (!["42501", "55000", "53400"].includes(sqlStateOf(error) ?? ""))
        throw translateSqlError(error);
      throw new DureError(
        "WAL_UNAVAILABLE",
        `${describeError(error)}: relaying by the log needs a role that owns the library's tables, may create in the database, and has the attribute replication; and a free place below max_replication_slots`,
        { cause: error },
      );
    }
  }
}

function slotLost(slot: string): DureError {
  return new DureError(
    "WAL_SLOT_LOST",
    `the replication slot "${slot}" is gone, and with it the log in which tableless events stood: those that were not published are lost, and no more are taken. "dure relay resync" says how many at most, and goes on`,
  );
}
