/** Goods come back against what was bought, once, and never more of them than were bought. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { returnViewSchema } from "../contracts/http/returns.ts";
import type { ReturnView } from "../contracts/http/returns.ts";
import { createOrderWorld, someOrder } from "./testing/order-world.ts";
import type { Answer, OrderWorld } from "./testing/order-world.ts";
import { problem } from "./testing/played-participants.ts";
import { waitFor } from "./testing/wait-for.ts";

let world: OrderWorld;
let count = 0;
const newName = (what: string) => `${what}-${(count += 1)}`;

beforeAll(async () => {
  world = await createOrderWorld();
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => world.participants.answers.clear());

/** Three teas (two for 150, one for 100) and a cup for 700. */
async function buys(userId: string): Promise<string> {
  const body = { items: someOrder.items, currency: "GBP" };
  const { orderId } = await world.place({ userId, body });
  const isCompleted = async () => (await world.read(orderId)).status === "COMPLETED";
  await waitFor(isCompleted, { what: "the purchase" });
  return orderId;
}

const giveBack = (userId: string, items: unknown, call: Record<string, unknown> = {}) =>
  world.call("/returns", {
    method: "POST",
    key: newName("return"),
    userId,
    body: { userId, items },
    ...call,
  });

const teas = (quantity: number) => [{ productId: "tea", quantity }];
const idOf = ({ body }: Answer) => (body as { returnId: string }).returnId;

async function ends(returnId: string, status: ReturnView["status"]): Promise<ReturnView> {
  const read = async () =>
    returnViewSchema.parse((await world.call(`/returns/${returnId}`, { roles: "merchant" })).body);
  await waitFor(async () => (await read()).status === status, { what: `${returnId} ${status}` });
  return read();
}

test("the newest purchase comes first, the last line first; each order has its own calls", async () => {
  const userId = newName("user");
  const older = await buys(userId);
  const newer = await buys(userId);
  const answer = await giveBack(userId, [{ productId: "tea", quantity: 5, unitPrice: 999 }]);
  // Of the newer order 100 and twice 150, of the older one 100 and once 150.
  expect(answer).toMatchObject({ status: 201, body: { status: "PENDING", refund: 650 } });
  const view = await ends(idOf(answer), "COMPLETED");
  expect(view.items).toEqual([{ productId: "tea", quantity: 5, unitPrice: 999 }]);
  const asked = (orderId: string) =>
    world.participants.stepsOf(orderId).flatMap(({ step, key, body }) => {
      return body["returnId"] === view.returnId ? [{ step, key, ...body }] : [];
    });
  const items = (...quantities: readonly number[]) =>
    quantities.map((quantity) => ({ productId: "tea", quantity }));
  const [one, two] = [older, newer].toSorted();
  const { rows } = await world.database.pool.query<{ saga_id: string }>(
    "select saga_id from returns where id = $1",
    [view.returnId],
  );
  const sagaId = rows[0]?.saga_id ?? "";
  expect([...asked(one ?? ""), ...asked(two ?? "")].map(({ key }) => key)).toEqual([
    `${sagaId}-payment-refund`,
    `${sagaId}-inventory-restock`,
    `${sagaId}-payment-refund-2`,
    `${sagaId}-inventory-restock-2`,
  ]);
  expect(asked(newer)).toMatchObject([{ amount: 400 }, { items: items(2, 1) }]);
  expect(asked(older)).toMatchObject([{ amount: 250 }, { items: items(1, 1) }]);
});

test("more than was bought, or what others bought, is refused by line, and nothing happens", async () => {
  const userId = newName("user");
  await buys(userId);
  const lines = [...teas(1), { productId: "cup", quantity: 2 }, ...teas(3)];
  expect(await giveBack(userId, lines)).toMatchObject({
    status: 422,
    body: {
      code: "NO_MATCHING_PURCHASE",
      errors: [{ path: "items.1.quantity" }, { path: "items.2.quantity" }],
    },
  });
  expect(await giveBack(newName("user"), teas(1))).toMatchObject({ status: 422 });
  expect(await giveBack(userId, teas(3))).toMatchObject({ status: 201, body: { refund: 400 } });
  expect(await giveBack(userId, teas(1))).toMatchObject({ status: 422 });
});

test("a purchase that was not there yet is one when the same key asks again", async () => {
  const userId = newName("user");
  const key = newName("key");
  expect(await giveBack(userId, teas(1), { key })).toMatchObject({ status: 422 });
  await buys(userId);
  expect(await giveBack(userId, teas(1), { key })).toMatchObject({ status: 201 });
});

test("of 12 returns at once no more are accepted than pieces were bought", async () => {
  const userId = newName("user");
  await Promise.all([buys(userId), buys(userId)]);
  const answers = await Promise.all(Array.from({ length: 12 }, () => giveBack(userId, teas(1))));
  const accepted = answers.filter(({ status }) => status === 201);
  const refused = answers.filter(({ status }) => status === 422);
  expect([accepted.length, refused.length]).toEqual([6, 6]);
  const refunds = answers.map(({ body }) => (body as { refund?: number }).refund ?? 0);
  expect(refunds.reduce((sum, refund) => sum + refund)).toBe(800);
});

test("one key is one return with one answer, also 20 times at once; another body is refused", async () => {
  const userId = newName("user");
  await buys(userId);
  const key = newName("key");
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => giveBack(userId, teas(1), { key })),
  );
  expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  const fresh = answers.filter(({ headers }) => !headers.has("idempotent-replayed"));
  expect(fresh).toHaveLength(1);
  expect(await giveBack(userId, teas(2), { key })).toMatchObject({
    status: 422,
    body: { code: "IDEMPOTENCY_KEY_REUSED" },
  });
  // A merchant's key is another's.
  const body = { userId, items: teas(1) };
  const merchant = { userId: "merchant", roles: "merchant", key, body };
  const other = await giveBack(userId, teas(1), merchant);
  expect(other.status).toBe(201);
  expect(other.text).not.toBe(answers[0]?.text);
});

test("customers return for themselves and see their own; merchants return for anyone", async () => {
  const userId = newName("user");
  await buys(userId);
  const eve = { userId: "eve", body: { userId, items: teas(1) } };
  expect(await giveBack(userId, teas(1), eve)).toMatchObject({ status: 403 });
  const returnId = idOf(await giveBack(userId, teas(1), { ...eve, roles: "merchant" }));
  expect(await world.call(`/returns/${returnId}`, { userId })).toMatchObject({ status: 200 });
  expect(await world.call(`/returns/${returnId}`, { userId: "eve" })).toMatchObject({
    status: 404,
  });
  expect(await world.call("/returns/RET-none", { userId })).toMatchObject({ status: 404 });
});

test("a refund that is refused for good waits for a person; what is canceled cannot be returned", async () => {
  const userId = newName("user");
  const orderId = await buys(userId);
  world.participants.answers.set("payment-refund", () => problem(422, "AMOUNT_TOO_LARGE"));
  const returnId = idOf(await giveBack(userId, teas(1)));
  await ends(returnId, "NEEDS_ATTENTION");
  world.participants.answers.clear();
  const cancel = { method: "POST", key: newName("cancel"), userId, body: {} };
  expect(await world.call(`/orders/${orderId}/cancel`, cancel)).toMatchObject({ status: 202 });
  expect(await giveBack(userId, teas(1))).toMatchObject({ status: 422 });
  const isCanceled = async () => (await world.read(orderId)).status === "CANCELED";
  await waitFor(isCanceled, { what: "the cancel" });
  // What the return has taken is the return's.
  const canceled = world.participants
    .stepsOf(orderId)
    .findLast(({ step }) => step === "payment-refund");
  expect(canceled?.body).toMatchObject({ amount: 1000, reason: "CANCELED_BY_USER" });
});
