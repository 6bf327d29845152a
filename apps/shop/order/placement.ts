import { createHash } from "node:crypto";
import { ulid } from "ulid";
import type { MessageContext, ServiceTransaction } from "dure";
import type { PoolClient } from "pg";
import type { ServiceDure } from "../chassis/messaging.ts";
import { ProblemError } from "../chassis/problem.ts";
import { OrderCreated } from "../contracts/events.ts";
import { amountMax } from "../contracts/http/fields.ts";
import type { AcceptedOrder, CheckoutMode, NewOrder } from "../contracts/http/orders.ts";
import type { CardToken } from "../contracts/http/provider.ts";
import { amountOf } from "./domain.ts";
import type { OrderSagas } from "./order-sagas.ts";
import * as sql from "./order-sql.ts";

/** An order as it is asked for. */
export interface PlaceRequest {
  readonly userId: string;
  readonly idempotencyKey: string;
  readonly body: NewOrder;
  readonly context: MessageContext;
}

/** The answer, and whether it was given before. */
export interface Placed {
  readonly order: AcceptedOrder;
  readonly isReplayed: boolean;
}

/** What placing needs. */
export interface PlacementOptions {
  readonly dure: ServiceDure;
  readonly sagas: OrderSagas;
}

/**
 * Places an order once per user and key: the row that holds the key, the history and the start of the
 * checkout (the saga, or `order.created` where the services follow events) commit together. A duplicate that runs at the same time waits for the first one
 * in the unique index, and then gets its answer; if the first one fails, it takes its place. When
 * the process dies before the commit nothing has happened, and after it a repeat gets the answer.
 *
 * @throws ProblemError IDEMPOTENCY_KEY_REUSED, AMOUNT_TOO_LARGE, PAYMENT_FLOW_NOT_SUPPORTED; nothing
 *   is written then
 */
export async function placeOrder(
  options: PlacementOptions,
  request: PlaceRequest,
): Promise<Placed> {
  const mode = supportedMode(request.body);
  const amount = amountOf(request.body.items);
  if (amount === undefined) {
    throw new ProblemError("AMOUNT_TOO_LARGE", `An order may come to ${amountMax} at most.`);
  }
  const order: AcceptedOrder = {
    orderId: `ORD-${ulid()}`,
    status: "PENDING",
    amount,
    mode,
    sagaId: `SAGA-${ulid()}`,
  };
  const fingerprint = fingerprintOf(request.body);
  return options.dure.transaction(
    async (tx) => {
      if (!(await takeKey(tx, order, request, fingerprint))) {
        return { order: await replay(tx, request, fingerprint), isReplayed: true };
      }
      await writeOrder(tx, order, request.body);
      await beginCheckout(tx, order, request, options);
      return { order, isReplayed: false };
    },
    { context: { ...request.context, correlationId: order.sagaId } },
  );
}

type Tx = ServiceTransaction<PoolClient>;

/** The mode to use: orchestration, unless the caller wants the other. */
function supportedMode({ mode = "orchestration", payment }: NewOrder): CheckoutMode {
  if (mode === "choreography" && payment?.flow === "two-phase") {
    const detail = "A choreographed checkout takes the money in one phase.";
    throw new ProblemError("PAYMENT_FLOW_NOT_SUPPORTED", detail);
  }
  return mode;
}

async function takeKey(
  tx: Tx,
  order: AcceptedOrder,
  { userId, idempotencyKey, body }: PlaceRequest,
  fingerprint: string,
): Promise<boolean> {
  const { orderId, amount, mode, sagaId } = order;
  const { rowCount } = await tx.client.query(sql.insertOrder, [
    orderId,
    userId,
    amount,
    body.currency,
    mode,
    idempotencyKey,
    fingerprint,
    sagaId,
    body.items.length,
  ]);
  return rowCount === 1;
}

async function replay(
  tx: Tx,
  { userId, idempotencyKey }: PlaceRequest,
  fingerprint: string,
): Promise<AcceptedOrder> {
  const { rows } = await tx.client.query<KeyRow>(sql.readByKey, [userId, idempotencyKey]);
  const [row] = rows;
  if (row === undefined) throw new Error("an order has the key, but cannot be read");
  if (row.request_fingerprint !== fingerprint) {
    throw new ProblemError("IDEMPOTENCY_KEY_REUSED", "The key came with another body before.");
  }
  const { id, amount, mode, saga_id: sagaId } = row;
  return { orderId: id, status: "PENDING", amount: Number(amount), mode, sagaId };
}

async function writeOrder(tx: Tx, { orderId }: AcceptedOrder, { items }: NewOrder): Promise<void> {
  await tx.client.query(sql.insertItems, [
    orderId,
    items.map((item) => item.productId),
    items.map((item) => item.quantity),
    items.map((item) => item.unitPrice),
  ]);
  await tx.client.query(sql.insertHistory, [orderId, "PENDING", "ACCEPTED", null]);
}

/** Who drives it decides how it begins: nobody else may hear of an orchestrated order now. */
async function beginCheckout(
  tx: Tx,
  order: AcceptedOrder,
  request: PlaceRequest,
  { sagas }: PlacementOptions,
): Promise<void> {
  const { orderId, sagaId, amount, mode } = order;
  if (mode === "choreography") return emitCreated(tx, order, request);
  const { userId, body, context } = request;
  const { token = tokenDefault, flow = "two-phase" } = body.payment ?? {};
  const { traceparent } = context;
  const input = { orderId, userId, amount, token };
  await sagas.startCheckout(tx, flow, { sagaId, input, traceparent });
}

const tokenDefault: CardToken = "tok_visa";

function emitCreated(tx: Tx, order: AcceptedOrder, { userId, body }: PlaceRequest): void {
  const { orderId, sagaId, amount } = order;
  tx.emit(OrderCreated, {
    orderId,
    sagaId,
    userId,
    amount,
    currency: body.currency,
    items: body.items.map((item) => ({ ...item })),
    payment: { method: "CARD", token: body.payment?.token ?? tokenDefault },
  });
}

/** The schema gives parsed bodies its own order of fields, so equal requests are equal text. */
function fingerprintOf(body: NewOrder): string {
  return createHash("sha256").update(JSON.stringify(body)).digest("hex");
}

interface KeyRow {
  readonly id: string;
  readonly amount: string;
  readonly mode: CheckoutMode;
  readonly saga_id: string;
  readonly request_fingerprint: string;
}
