import { PermanentError } from "dure";
import type { Logger } from "pino";
import type { CancelReason, OrderStatus } from "../contracts/http/orders.ts";
import { furtherStage, isFinal, pathTo, standingOf } from "./domain.ts";
import type { Standing } from "./domain.ts";
import type { FlowEvent, FlowFacts } from "./flow.ts";
import * as sql from "./checkout-sql.ts";
import { lockOrder, moveOrder } from "./order-moves.ts";
import type { LockedOrder, OrderTransaction } from "./order-moves.ts";

/** An event of another service about a checkout. */
export interface HeardEvent {
  readonly type: FlowEvent;
  readonly messageId: string;
  /** When its service wrote it. */
  readonly at: string;
  readonly orderId: string;
  readonly reason?: CancelReason;
  /** What else it says, for the timeline. */
  readonly details: Readonly<Record<string, string | number>>;
}

/** What following a checkout needs. */
export interface CheckoutOptions {
  readonly logger: Logger;
  /** In the transaction that completes an order: somebody may have wanted it canceled meanwhile. */
  readonly onCompleted: (tx: OrderTransaction, order: LockedOrder) => Promise<void>;
}

/**
 * Keeps what was heard and moves the order to where all that was heard puts it. The order of
 * arrival does not matter: the row is locked, the facts decide, and a final status never changes.
 *
 * @throws PermanentError for an order that does not exist: no service can have heard of it
 */
export async function hear(tx: Tx, event: HeardEvent, options: CheckoutOptions): Promise<void> {
  const order = await lockOrder(tx, event.orderId);
  if (order === undefined) throw new PermanentError(`there is no order ${event.orderId}`);
  // Its saga knows from the answers to its own calls.
  if (order.mode === "orchestration") return;
  const { rowCount } = await tx.client.query(sql.insertEvent, [
    order.saga_id,
    event.type,
    event.reason ?? null,
    JSON.stringify(event.details),
    event.messageId,
    event.at,
  ]);
  if (rowCount === 0 || isFinal(order.status)) return;
  const standing = standingOf(await readFacts(tx, order.saga_id));
  const path = pathTo(order.status, standing.status);
  if (path === undefined) {
    const facts = { orderId: order.id, from: order.status, to: standing.status };
    options.logger.warn({ ...facts, event: event.type }, "illegal transition refused");
    return;
  }
  const moved = await moveTo(tx, order, standing, path);
  if (moved?.status === "COMPLETED") await options.onCompleted(tx, moved);
}

type Tx = OrderTransaction;

async function readFacts(tx: Tx, sagaId: string): Promise<FlowFacts> {
  const { rows } = await tx.client.query<FactRow>(sql.listEvents, [sagaId]);
  return new Map(rows.map((row) => [row.type, row.reason ?? undefined]));
}

/** Moves the order to where it stands. Returns it if anything changed. */
async function moveTo(
  tx: Tx,
  order: LockedOrder,
  standing: Standing,
  path: readonly OrderStatus[],
): Promise<LockedOrder | undefined> {
  const stage = furtherStage(order.mode, order.stage, standing.stage);
  const reason = order.reason ?? standing.reason ?? null;
  if (path.length === 0 && stage === order.stage && reason === order.reason) return undefined;
  return moveOrder(tx, order, { path, stage, reason });
}

interface FactRow {
  readonly type: FlowEvent;
  readonly reason: CancelReason | null;
}
