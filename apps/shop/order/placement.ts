import { ulid } from "ulid";
import type { ServiceTransaction } from "dure";
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
  readonly sagaId: string;
  readonly body: NewOrder;
  readonly traceparent: string;
}

/** What placing needs. */
export interface PlacementOptions {
  readonly dure: ServiceDure;
  readonly sagas: OrderSagas;
}

/**
 * Places an order in the transaction of the request, which is carried out once per user and key: the order, its
 * history and the start of the checkout (the saga, or `order.created` where the services follow events) commit together
 * with the answer.
 *
 * @throws ProblemError AMOUNT_TOO_LARGE, PAYMENT_FLOW_NOT_SUPPORTED; IDEMPOTENCY_KEY_REUSED for a key
 *   that an order has from a time that is no longer remembered; nothing is written then
 */
export async function placeOrder(
  tx: Tx,
  options: PlacementOptions,
  request: PlaceRequest,
): Promise<AcceptedOrder> {
  const mode = supportedMode(request.body);
  const amount = amountOf(request.body.items);
  if (amount === undefined) {
    throw new ProblemError("AMOUNT_TOO_LARGE", `An order may come to ${amountMax} at most.`);
  }
  const { sagaId } = request;
  const order: AcceptedOrder = {
    orderId: `ORD-${ulid()}`,
    status: "PENDING",
    amount,
    mode,
    sagaId,
  };
  if (!(await insertOrder(tx, order, request))) {
    throw new ProblemError("IDEMPOTENCY_KEY_REUSED", "An older order has the key.");
  }
  await writeOrder(tx, order, request.body);
  await beginCheckout(tx, order, request, options);
  return order;
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

async function insertOrder(
  tx: Tx,
  { orderId, amount, mode, sagaId }: AcceptedOrder,
  { userId, idempotencyKey, body }: PlaceRequest,
): Promise<boolean> {
  const { rowCount } = await tx.client.query(sql.insertOrder, [
    orderId,
    userId,
    amount,
    body.currency,
    mode,
    idempotencyKey,
    sagaId,
    body.items.length,
  ]);
  return rowCount === 1;
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
  const { userId, body, traceparent } = request;
  const { token = tokenDefault, flow = "two-phase" } = body.payment ?? {};
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
