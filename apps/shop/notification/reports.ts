import type { Pool } from "pg";
import { z } from "zod";
import type { TimelineEntry } from "../contracts/http/internal.ts";
import type { Channel, NotificationStatus, Template } from "./domain.ts";
import * as sql from "./notification-sql.ts";

/** One notification, as the other services see it. */
export interface NotificationView {
  readonly recipient: string;
  readonly channel: Channel;
  readonly template: Template;
  readonly status: NotificationStatus;
  readonly messageId: string;
  readonly attempts: number;
  readonly lastError?: string | undefined;
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** The answer of `GET /internal/notifications`, oldest first. */
export const notificationsSchema: z.ZodType<{
  readonly notifications: readonly NotificationView[];
}> = z.strictObject({
  notifications: z
    .array(
      z.strictObject({
        recipient: z.string(),
        channel: z.enum(["SMS", "EMAIL"]),
        template: z.enum(["ORDER_COMPLETED", "ORDER_CANCELED"]),
        status: z.enum(["PENDING", "SENT", "DEAD"]),
        messageId: z.string(),
        attempts: z.int(),
        lastError: z.string().optional(),
        createdAt: z.iso.datetime(),
        updatedAt: z.iso.datetime(),
      }),
    )
    .readonly(),
});

/** What was sent about an order, or could not be. */
export async function readNotifications(
  pool: Pool,
  orderId: string,
): Promise<readonly NotificationView[]> {
  const { rows } = await pool.query<NotificationRow>(sql.listNotifications, [orderId]);
  return rows.map((row) => ({
    recipient: row.recipient,
    channel: row.channel,
    template: row.template,
    status: row.status,
    messageId: row.message_id,
    attempts: row.attempt_count,
    lastError: row.last_error ?? undefined,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  }));
}

/** What notification did for an order: each notification once, as it stands. */
export async function readTimeline(
  pool: Pool,
  orderId: string,
): Promise<z.infer<typeof TimelineEntry>[]> {
  const notifications = await readNotifications(pool, orderId);
  return notifications
    .map((notification) => ({
      at: notification.updatedAt,
      service: "notification",
      kind: "notification" as const,
      what: `${notification.channel} ${sentences[notification.status]}`,
      detail: {
        template: notification.template,
        attempts: notification.attempts,
        ...(notification.lastError === undefined ? {} : { lastError: notification.lastError }),
      },
    }))
    .sort((one, other) => one.at.localeCompare(other.at));
}

/** How many notifications wait, and how many were given up. */
export async function countUnsent(
  pool: Pool,
): Promise<Readonly<Record<"PENDING" | "DEAD", number>>> {
  const { rows } = await pool.query<CountRow>(sql.countByStatus);
  const count = (status: string): number =>
    Number(rows.find((row) => row.status === status)?.notifications ?? 0);
  return { PENDING: count("PENDING"), DEAD: count("DEAD") };
}

const sentences: Readonly<Record<NotificationStatus, string>> = {
  PENDING: "waits to be sent",
  SENT: "sent",
  DEAD: "given up",
};

interface NotificationRow {
  readonly recipient: string;
  readonly channel: Channel;
  readonly template: Template;
  readonly status: NotificationStatus;
  readonly message_id: string;
  readonly attempt_count: number;
  readonly last_error: string | null;
  readonly created_at: Date;
  readonly updated_at: Date;
}

interface CountRow {
  readonly status: string;
  readonly notifications: string;
}
