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
import { walSlot } from "./wal-slot.ts";
import type { WalSettings, WalSlot } from "./wal-slot.ts";
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
  readonly #slot: WalSlot;
  readonly #claims: Claims;
  #memberId = "";

  constructor(parts: WalFeedParts) {
    this.#parts = parts;
    this.#sql = walSql(parts.schema);
    this.#slot = walSlot(parts.pool, this.#sql);
    this.#claims = postgresClaims(parts.pool, claimsSql(parts.schema));
  }

  async prepare(): Promise<void> {
    await this.#settle(undefined);
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
    const names = await this.#takeOver(parts);
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
    const state = await this.#slot.state();
    const { lagBytes = 0, walStatus } = state ?? {};
    const facts = { source, lagBytes, walStatus };
    alerts.warnWhile(
      lagBytes > lagBytesMax,
      "the relay is behind the write-ahead log: the server keeps it on its disk until the events are published",
      facts,
    );
    alerts.errorWhile(
      walStatus === "unreserved",
      "the server is about to drop the write-ahead log that the relay has not read (max_slot_wal_keep_size)",
      facts,
    );
  }

  /** As {@link WalFeed.prepare}, and nobody else reads. */
  async #takeOver({ logger, source, clock, leaseMs }: FeedParts): Promise<WalSettings> {
    const names = await this.#settle(() =>
      logger.error(
        "WAL_SLOT_LOST: the server has dropped the log that the relay had not read. Nothing is lost: the events stand in the table and are read there",
        { source },
      ),
    );
    await this.#endReader(clock, leaseMs);
    return names;
  }

  /**
   * Slot and publication stand, and events may be written as they are to be. In this order: an event that stands
   * in the log alone needs a slot that keeps the log.
   * @throws WAL_SLOT_LOST when events stood in the lost log alone: an operator has to see it
   */
  async #settle(onReplaced: (() => void) | undefined): Promise<WalSettings> {
    const slot = this.#slot;
    const settings = await slot.settings();
    const { tableless } = settings;
    await slot.publish();
    const state = await slot.state();
    const isLost = state?.walStatus === "lost";
    const isGone = state === undefined || isLost;
    if (tableless === "lost" || (isGone && tableless === "on")) {
      await slot.setTableless("lost");
      throw slotLost(settings.slot);
    }
    if (isLost) {
      onReplaced?.();
      await slot.drop();
    }
    if (isGone) await slot.create();
    if (this.#parts.options.tableless === true && tableless === "off")
      await slot.setTableless("on");
    return settings;
  }

  /** Who reads the slot still has lost the claim: frozen, or behind a broken network. */
  async #endReader(clock: Clock, waitMs: number): Promise<void> {
    const until = clock.monotonic() + waitMs;
    while ((await this.#slot.state())?.isRead === true && clock.monotonic() < until) {
      await this.#slot.endReader();
      await clock.sleep(20);
    }
  }
}

function slotLost(slot: string): DureError {
  return new DureError(
    "WAL_SLOT_LOST",
    `the replication slot "${slot}" is gone, and with it the log in which tableless events stood: those that were not published are lost, and no more are taken. "dure relay resync" says how many at most, and goes on`,
  );
}
