import type { Clock } from "dure";
import type { Pool } from "pg";
import type { SendChannels } from "./channels.ts";
import { afterFailure } from "./domain.ts";
import type { Channel } from "./domain.ts";
import * as sql from "./notification-sql.ts";

/** A notification that this instance has taken for a while. */
export interface ClaimedNotification {
  readonly id: string;
  readonly recipient: string;
  readonly channel: Channel;
  readonly body: string;
  readonly messageId: string;
  readonly attempt: number;
}

/** Takes pending notifications to their channels and records what became of them. */
export interface Outgoing {
  claim(limit: number): Promise<readonly ClaimedNotification[]>;
  renew(notifications: readonly ClaimedNotification[]): Promise<void>;
  /**
   * Sends one, outside any transaction. If the process dies before it is recorded, it is sent
   * again with the same key.
   */
  work(notification: ClaimedNotification, signal: AbortSignal): Promise<void>;
}

const claimMs = 10_000;

/** Claims are renewed several times before they could run out. */
export const renewEveryMs = 2500;

/** What goes out of the service's own database. */
export function createOutgoing(pool: Pool, channels: SendChannels, clock: Clock): Outgoing {
  async function send(notification: ClaimedNotification, signal: AbortSignal): Promise<void> {
    const { id, recipient, channel, body, messageId } = notification;
    const letter = { key: `${messageId}-${channel}`, recipient, body };
    const outcome = await channels[channel].send(letter, signal);
    const settled = outcome === "sent" ? ["SENT", null] : ["DEAD", `refused by ${channel}`];
    await pool.query(sql.settleNotification, [...settled, id]);
  }

  async function recordFailure({ id, attempt }: ClaimedNotification, error: unknown) {
    const message = String(error).slice(0, 500);
    const next = afterFailure(attempt, clock);
    if (next.kind === "give-up") {
      await pool.query(sql.settleNotification, ["DEAD", message, id]);
    } else {
      await pool.query(sql.postponeNotification, [next.restMs, message, id, attempt]);
    }
  }

  return {
    async claim(limit) {
      const { rows } = await pool.query<ClaimRow>(sql.claimNotifications, [claimMs, limit]);
      return rows.map((row) => ({
        id: row.id,
        recipient: row.recipient,
        channel: row.channel,
        body: row.body,
        messageId: row.message_id,
        attempt: row.attempt_count,
      }));
    },
    async renew(notifications) {
      const ids = notifications.map((notification) => notification.id);
      await pool.query(sql.renewClaims, [claimMs, ids]);
    },
    async work(notification, signal) {
      try {
        await send(notification, signal);
      } catch (error) {
        const { id, attempt } = notification;
        // Who stops gives it back at once and blames nobody.
        if (signal.aborted) await pool.query(sql.returnNotification, [id, attempt]);
        else await recordFailure(notification, error);
      }
    },
  };
}

interface ClaimRow {
  readonly id: string;
  readonly recipient: string;
  readonly channel: Channel;
  readonly body: string;
  readonly message_id: string;
  readonly attempt_count: number;
}
