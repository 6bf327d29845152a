import type { Pool } from "pg";
import type { z } from "zod";
import { pathOf } from "../chassis/peer-client.ts";
import type { PeerClient } from "../chassis/peer-client.ts";
import { PeerError } from "../chassis/peer-error.ts";
import type { CallContext } from "../chassis/trace-context.ts";
import { TimelinePart } from "../contracts/http/internal.ts";
import type { OrderView } from "../contracts/http/orders.ts";
import type { Timeline, TimelineEntry } from "../contracts/http/timeline.ts";
import * as sql from "./checkout-sql.ts";
import type { Peers } from "./peers.ts";
import { ownUndoing } from "./timeline-undoing.ts";

/** What happened to an order as the order service saw it. */
export async function ownTimeline(pool: Pool, order: OrderView): Promise<readonly TimelineEntry[]> {
  const [heard, overdue, undone] = await Promise.all([
    pool.query<HeardRow>(sql.listEvents, [order.sagaId]),
    pool.query<OverdueRow>(sql.listOverdue, [order.sagaId]),
    ownUndoing(pool, order.orderId),
  ]);
  return [
    requestOf(order),
    ...historyOf(order),
    ...stepsOf(order),
    ...heard.rows.map(heardOf),
    ...overdue.rows.map(overdueOf),
    ...undone,
  ];
}

/**
 * What happened to an order in every service, by time. A service that does not answer is listed as
 * missing, at the time of the question, and does not keep the others from being shown.
 */
export async function mergedTimeline(
  pool: Pool,
  peers: Peers,
  order: OrderView,
  context: CallContext,
): Promise<Timeline> {
  const asked = [peers.payment, peers.inventory, peers.delivery, peers.notification];
  const parts = await Promise.all([
    ownTimeline(pool, order),
    ...asked.map((peer) => partOf(pool, peer, order.orderId, context)),
  ]);
  // The sort is stable: what happened in one millisecond stays in its service's order.
  const entries = parts
    .flat()
    .sort((one, other) => (one.at < other.at ? -1 : one.at > other.at ? 1 : 0));
  return { orderId: order.orderId, entries };
}

const peerTimeoutMs = 2000;

async function partOf(
  pool: Pool,
  peer: PeerClient,
  orderId: string,
  context: CallContext,
): Promise<readonly TimelineEntry[]> {
  const path = pathOf("internal", "timeline", orderId);
  const question = { method: "GET", path, schema: TimelinePart, context } as const;
  try {
    const { entries } = await peer.ask({ ...question, timeoutMs: peerTimeoutMs });
    return entries.map(toPublic);
  } catch (error) {
    if (error instanceof PeerError && error.status === 404) return [];
    // Recorded in the answer itself: the reader is told what the list does not hold.
    return [await missing(pool, peer)];
  }
}

async function missing(pool: Pool, { peer }: PeerClient): Promise<TimelineEntry> {
  const { rows } = await pool.query<{ now: Date }>(sql.readClock);
  const at = rows[0]?.now.toISOString() ?? "";
  const what = `missing: the ${peer} service does not answer`;
  return { at, service: peer, kind: "event", what, details: { missing: true } };
}

type InternalEntry = z.infer<typeof TimelinePart>["entries"][number];

function toPublic({ at, service, kind, what, detail }: InternalEntry): TimelineEntry {
  const details = Object.entries(detail ?? {}).flatMap(([name, value]) =>
    value === null ? [] : [[name, value] as const],
  );
  return {
    at: toMilliseconds(at),
    service,
    kind: kind === "status" ? "event" : kind,
    what,
    ...(details.length === 0 ? {} : { details: Object.fromEntries(details) }),
  };
}

/** Entries are compared as text, so all have milliseconds, whatever the service writes. */
function toMilliseconds(instant: string): string {
  const [, seconds = "", fraction = ""] = /^([^.Z]*)(?:\.(\d+))?Z$/.exec(instant) ?? [];
  return `${seconds}.${fraction.padEnd(3, "0").slice(0, 3)}Z`;
}

const service = "order";

function requestOf({ createdAt: at, userId, amount, mode, sagaId }: OrderView): TimelineEntry {
  const details = { userId, amount, mode, sagaId };
  return { at, service, kind: "request", what: "POST /orders", details };
}

function historyOf({ history }: OrderView): readonly TimelineEntry[] {
  return history.map(({ at, status, stage, reason }) => ({
    at,
    service,
    kind: "event",
    what: `order ${status}`,
    details: {
      ...(stage === undefined ? {} : { stage }),
      ...(reason === undefined ? {} : { reason }),
    },
  }));
}

/** The steps of an orchestrated checkout that the order service carries out itself. */
function stepsOf({ mode, createdAt, history, sagaId }: OrderView): readonly TimelineEntry[] {
  if (mode === "choreography") return [];
  const step = (at: string, kind: "step" | "compensation", what: string): TimelineEntry => ({
    at,
    service,
    kind,
    what,
    details: { sagaId },
  });
  const isCompleted = history.some(({ status }) => status === "COMPLETED");
  return [
    step(createdAt, "step", "create order"),
    ...history.flatMap(({ at, status }) => {
      if (status === "COMPLETED") return [step(at, "step", "complete order")];
      // One that was completed is undone by the steps of another saga.
      return status === "CANCELED" && !isCompleted
        ? [step(at, "compensation", "cancel order")]
        : [];
    }),
  ];
}

function heardOf(row: HeardRow): TimelineEntry {
  const occurredAt = row.occurred_at.toISOString();
  const details = {
    ...row.details,
    ...(row.reason === null ? {} : { reason: row.reason }),
    occurredAt,
  };
  return {
    at: row.created_at.toISOString(),
    service,
    kind: "event",
    what: `heard ${row.type}`,
    details,
  };
}

function overdueOf({ overdue_at: overdueAt, waiting_for: waitingFor }: OverdueRow): TimelineEntry {
  return {
    at: overdueAt.toISOString(),
    service,
    kind: "event",
    what: `waits too long for ${waitingFor}`,
    details: { waitingFor },
  };
}

interface HeardRow {
  readonly type: string;
  readonly reason: string | null;
  readonly details: Readonly<Record<string, string | number>>;
  readonly occurred_at: Date;
  readonly created_at: Date;
}

interface OverdueRow {
  readonly waiting_for: string;
  readonly overdue_at: Date;
}
