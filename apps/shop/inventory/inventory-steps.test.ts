/** Inventory as a participant of an orchestrated checkout: each step once, undone in any order of arrival. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Principal } from "../chassis/principal.ts";
import { startUnderTest } from "../chassis/testing/service-under-test.ts";
import type { ServiceUnderTest } from "../chassis/testing/service-under-test.ts";
import { createStepCaller } from "../chassis/testing/step-caller.ts";
import type { StepCaller } from "../chassis/testing/step-caller.ts";
import { userToken } from "../chassis/testing/test-server.ts";
import {
  cancelReservation,
  confirmReservation,
  renewReservation,
  reserveStock,
  restockPieces,
  unconfirmReservation,
} from "../contracts/http/inventory-steps.ts";
import type { Pieces } from "../contracts/http/inventory-steps.ts";
import { ReservationsPage, TimelinePart } from "../contracts/http/internal.ts";
import { startInventory } from "./main.ts";

let shop: ServiceUnderTest;
let caller: StepCaller;
const merchant: Principal = { userId: "mia", roles: ["merchant"] };

beforeAll(async () => {
  shop = await startUnderTest("inventory", (config) =>
    startInventory(config, { sweepEveryMs: 50 }),
  );
  caller = createStepCaller("inventory", shop.url);
});

afterAll(async () => {
  await caller.close();
  await shop[Symbol.asyncDispose]();
});

let count = 0;
const newId = (prefix: string) => `${prefix}-${(count += 1)}`;

async function newProduct(available: number): Promise<string> {
  const productId = newId("P");
  const answer = await shop.put(`/products/${productId}`, { name: "A thing", available }, merchant);
  expect(answer.status).toBe(200);
  return productId;
}

async function stockOf(productId: string): Promise<readonly unknown[]> {
  const { available, reserved, sold } = (await shop.call(`/products/${productId}`)).body;
  return [available, reserved, sold];
}

/** One saga and its five calls, with the keys that the specification gives them. */
function newSaga(...pieces: readonly (readonly [productId: string, quantity: number])[]) {
  const orderId = newId("O");
  const owner = { orderId, sagaId: `SAGA-${orderId}` };
  const key = (step: string) => `${owner.sagaId}-inventory-${step}`;
  const items: readonly Pieces[] = pieces.map(([productId, quantity]) => ({ productId, quantity }));
  return {
    ...owner,
    owner,
    reserve: () => caller.ask(reserveStock, { ...owner, items }, { key: key("reserve") }),
    cancel: () =>
      caller.ask(
        cancelReservation,
        { ...owner, reason: "CANCELED_BY_USER" },
        { key: key("cancel"), compensates: key("reserve") },
      ),
    confirm: () => caller.ask(confirmReservation, owner, { key: key("confirm") }),
    unconfirm: () =>
      caller.ask(unconfirmReservation, owner, {
        key: key("unconfirm"),
        compensates: key("confirm"),
      }),
  };
}

function restock(orderId: string, key: string, ...pieces: readonly (readonly [string, number])[]) {
  const items = pieces.map(([productId, quantity]) => ({ productId, quantity }));
  const body = { orderId, sagaId: newId("SAGA-RETURN"), returnId: "R-1", items };
  return caller.ask(restockPieces, body, { key });
}

async function rowsOf(orderId: string) {
  const { body } = await shop.call("/internal/reservations?limit=5000");
  const rows = ReservationsPage.parse(body).reservations.filter((row) => row.orderId === orderId);
  return rows.sort((one, other) => (one.productId < other.productId ? -1 : 1));
}

async function storyOf(orderId: string): Promise<readonly string[]> {
  const { body } = await shop.call(`/internal/timeline/${orderId}`);
  return TimelinePart.parse(body).entries.map((entry) => `${entry.kind}: ${entry.what}`);
}

const done = { code: "OK" };
const undone = { code: "OK", body: { outcome: "undone" } };
const nothing = { code: "OK", body: { outcome: "nothing-to-undo" } };
const late = { code: "STEP_COMPENSATED", status: 409, isOutcomeUnknown: false };

describe("a step", () => {
  test("moves stock once however often it is asked for, and is undone the same way", async () => {
    const [apple, book] = [await newProduct(10), await newProduct(2)];
    const saga = newSaga([apple, 3], [book, 1], [apple, 1]);
    const first = await saga.reserve();
    expect(first).toMatchObject(done);
    expect(await saga.reserve()).toEqual(first);
    expect([await stockOf(apple), await stockOf(book)]).toEqual([
      [6, 4, 0],
      [1, 1, 0],
    ]);
    for (const _again of [1, 2]) expect(await saga.confirm()).toMatchObject(done);
    expect(await stockOf(apple)).toEqual([6, 0, 4]);
    for (const _again of [1, 2]) expect(await saga.unconfirm()).toEqual(undone);
    expect(await stockOf(apple)).toEqual([6, 4, 0]);
    for (const _again of [1, 2]) expect(await saga.cancel()).toEqual(undone);
    expect([await stockOf(apple), await stockOf(book)]).toEqual([
      [10, 0, 0],
      [2, 0, 0],
    ]);
    expect(await storyOf(saga.orderId)).toEqual([
      "step: stock reserved",
      "step: reservation confirmed",
      "compensation: confirmation undone",
      "compensation: reservation released",
    ]);
  });

  test("that is asked for twenty times at once happens once, and all hear the same", async () => {
    const apple = await newProduct(50);
    const saga = newSaga([apple, 2]);
    const answers = await Promise.all(Array.from({ length: 20 }, () => saga.reserve()));
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(await stockOf(apple)).toEqual([48, 2, 0]);
  });

  test("is no other request's: the key is refused", async () => {
    const apple = await newProduct(5);
    const saga = newSaga([apple, 1]);
    await saga.reserve();
    const items = [{ productId: apple, quantity: 2 }];
    const key = `${saga.sagaId}-inventory-reserve`;
    const reused = await caller.ask(reserveStock, { ...saga.owner, items }, { key });
    expect(reused).toMatchObject({ code: "IDEMPOTENCY_KEY_REUSED", status: 422 });
    expect(await stockOf(apple)).toEqual([4, 1, 0]);
  });
});

describe("a compensation that comes first", () => {
  test("succeeds, is remembered, and its late step is refused", async () => {
    const apple = await newProduct(5);
    const saga = newSaga([apple, 1]);
    for (const _again of [1, 2]) {
      expect(await saga.unconfirm()).toEqual(nothing);
      expect(await saga.cancel()).toEqual(nothing);
    }
    expect(await saga.reserve()).toMatchObject(late);
    expect(await saga.confirm()).toMatchObject(late);
    expect(await stockOf(apple)).toEqual([5, 0, 0]);
  });

  test("or second, or at the same time: afterwards nothing is held", async () => {
    const apple = await newProduct(1_000);
    const sagas = Array.from({ length: 40 }, () => newSaga([apple, 1]));
    const outcomes = await Promise.all(
      sagas.map(async (saga, at) =>
        at % 2 === 0
          ? Promise.all([saga.reserve(), saga.cancel()])
          : Promise.all([saga.cancel(), saga.reserve()]),
      ),
    );
    for (const pair of outcomes) {
      for (const { code } of pair) expect(["OK", "STEP_COMPENSATED"]).toContain(code);
    }
    expect(await stockOf(apple)).toEqual([1_000, 0, 0]);
    for (const saga of sagas) expect(await saga.reserve()).toMatchObject(late);
  });
});

describe("a refusal", () => {
  test("names its reason, holds nothing, and stays when there is stock again", async () => {
    const [apple, book] = [await newProduct(10), await newProduct(1)];
    const saga = newSaga([apple, 1], [book, 2]);
    const outOfStock = { code: "OUT_OF_STOCK", status: 409, isOutcomeUnknown: false };
    expect(await saga.reserve()).toMatchObject(outOfStock);
    await shop.put(`/products/${book}`, { name: "A thing", available: 9 }, merchant);
    expect(await saga.reserve()).toMatchObject(outOfStock);
    expect(await stockOf(apple)).toEqual([10, 0, 0]);
    expect(await saga.cancel()).toEqual(nothing);
    expect(await rowsOf(saga.orderId)).toEqual([]);
  });

  test("tells what others hold from what is gone or was never there", async () => {
    const apple = await newProduct(5);
    await newSaga([apple, 4]).reserve();
    const held = await newSaga([apple, 2]).reserve();
    expect(held).toMatchObject({ code: "HELD_BY_ANOTHER_ORDER", status: 409 });
    const unknown = await newSaga(["no-such-product", 1]).reserve();
    expect(unknown).toMatchObject({ code: "UNKNOWN_PRODUCT", status: 409 });
  });

  test("of a cancellation lasts only while the reservation is confirmed", async () => {
    const apple = await newProduct(5);
    const saga = newSaga([apple, 1]);
    await saga.reserve();
    await saga.confirm();
    expect(await saga.cancel()).toMatchObject({ code: "VERSION_CONFLICT", status: 409 });
    await saga.unconfirm();
    expect(await saga.cancel()).toEqual(undone);
    expect(await stockOf(apple)).toEqual([5, 0, 0]);
  });
});

describe("a reservation that nobody renews", () => {
  const age = (orderId: string, seconds: number) =>
    shop.pool.query(
      `update stock_reservations set expired_at = clock_timestamp() - $2 * interval '1 second'
       where order_id = $1`,
      [orderId, seconds],
    );

  test("is released, its saga hears of it, and its confirmation is refused for good", async () => {
    const apple = await newProduct(5);
    const saga = newSaga([apple, 2]);
    await saga.reserve();
    await age(saga.orderId, 1);
    const { data } = await shop.hears("stock.reservation-expired", saga.orderId);
    expect(data).toEqual(saga.owner);
    expect(await stockOf(apple)).toEqual([5, 0, 0]);
    const expired = { code: "RESERVATION_EXPIRED", status: 409, isOutcomeUnknown: false };
    for (const _again of [1, 2]) expect(await saga.confirm()).toMatchObject(expired);
    expect(await saga.unconfirm()).toEqual(nothing);
    expect(await saga.cancel()).toEqual(nothing);
    expect(await stockOf(apple)).toEqual([5, 0, 0]);
    expect(await storyOf(saga.orderId)).toContain("stock: reservation expired");
  });

  test("is held for as long again by a renewal or an undone confirmation, and not after its end", async () => {
    const saga = newSaga([await newProduct(5), 2]);
    await saga.reserve();
    const lasts = async () => {
      const { rows } = await shop.pool.query<{ minutes: number }>(
        `select round(extract(epoch from expired_at - clock_timestamp()) / 60)::int as minutes
         from stock_reservations where order_id = $1`,
        [saga.orderId],
      );
      return rows[0]?.minutes;
    };
    const renew = () => caller.ask(renewReservation, saga.owner, { key: newId("renew") });
    await age(saga.orderId, -60);
    expect(await renew()).toMatchObject(done);
    expect(await lasts()).toBe(30);
    await age(saga.orderId, -60);
    await saga.confirm();
    expect(await renew()).toMatchObject({ code: "RESERVATION_EXPIRED" });
    await saga.unconfirm();
    expect(await lasts()).toBe(30);
  });
});

describe("a restock", () => {
  test("that comes before the confirmation may come again, with the same key", async () => {
    const apple = await newProduct(10);
    const saga = newSaga([apple, 3]);
    await saga.reserve();
    const key = newId("early");
    const tooEarly = { code: "VERSION_CONFLICT", status: 409 };
    expect(await restock(saga.orderId, key, [apple, 1])).toMatchObject(tooEarly);
    await saga.confirm();
    expect(await restock(saga.orderId, key, [apple, 1])).toMatchObject(done);
    expect(await stockOf(apple)).toEqual([8, 0, 2]);
  });

  test("takes sold pieces back in parts, each part once, and never more than were sold", async () => {
    const [apple, book] = [await newProduct(10), await newProduct(10)];
    const saga = newSaga([apple, 3], [book, 1]);
    await saga.reserve();
    const tooMany = { code: "NO_MATCHING_PURCHASE", status: 422 };
    await saga.confirm();
    const key = newId("part");
    expect(await restock(saga.orderId, key, [apple, 2])).toMatchObject(done);
    expect(await stockOf(apple)).toEqual([9, 0, 1]);
    const both = await restock(saga.orderId, newId("both"), [book, 1], [apple, 2]);
    expect(both).toMatchObject(tooMany);
    expect(await stockOf(book)).toEqual([9, 0, 1]);
    expect(await saga.unconfirm()).toMatchObject({ code: "VERSION_CONFLICT" });
    expect(await rowsOf(saga.orderId)).toMatchObject([
      { productId: apple, quantity: 3, restocked: 2, status: "CONFIRMED" },
      { productId: book, quantity: 1, restocked: 0, status: "CONFIRMED" },
    ]);
    expect(await restock(saga.orderId, newId("rest"), [apple, 1], [book, 1])).toMatchObject(done);
    expect([await stockOf(apple), await stockOf(book)]).toEqual([
      [10, 0, 0],
      [10, 0, 0],
    ]);
    const rows = await rowsOf(saga.orderId);
    expect(rows.map((row) => row.status)).toEqual(["RELEASED", "RELEASED"]);
  });

  test("that is repeated, or raced by another, takes back once", async () => {
    const apple = await newProduct(10);
    const saga = newSaga([apple, 5]);
    await saga.reserve();
    await saga.confirm();
    const items = [{ productId: apple, quantity: 1 }];
    const body = { ...saga.owner, items };
    const same = { key: newId("same") };
    const repeats = Array.from({ length: 10 }, () => caller.ask(restockPieces, body, same));
    for (const answer of await Promise.all(repeats)) expect(answer).toMatchObject(done);
    const rivals = Array.from({ length: 8 }, () => restock(saga.orderId, newId("K"), [apple, 1]));
    const codes = (await Promise.all(rivals)).map((answer) => answer.code);
    expect(codes.filter((code) => code === "OK")).toHaveLength(4);
    expect(await stockOf(apple)).toEqual([10, 0, 0]);
  });
});

test("a hot product at two instances: exactly as many sagas get it as there are pieces", async () => {
  const second = await startInventory(shop.config);
  const other = createStepCaller("inventory", second.url);
  try {
    const [hot, cold] = [await newProduct(30), await newProduct(1_000)];
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, at) => {
        const owner = { orderId: newId("O"), sagaId: newId("SAGA-HOT") };
        const pieces = [hot, cold].map((productId) => ({ productId, quantity: 1 }));
        const items = at % 2 === 0 ? pieces : pieces.toReversed();
        const key = `${owner.sagaId}-inventory-reserve`;
        return (at % 3 === 0 ? other : caller).ask(reserveStock, { ...owner, items }, { key });
      }),
    );
    const codes = answers.map((answer) => answer.code);
    expect(codes.filter((code) => code === "OK")).toHaveLength(30);
    expect(codes.filter((code) => code === "HELD_BY_ANOTHER_ORDER")).toHaveLength(70);
    expect([await stockOf(hot), await stockOf(cold)]).toEqual([
      [0, 30, 0],
      [970, 30, 0],
    ]);
  } finally {
    await other.close();
    await second.stop();
  }
});

test("a caller without a service's token, or without the keys, is refused", async () => {
  const body = JSON.stringify({ orderId: "O", sagaId: "S" });
  const headers = {
    authorization: `Bearer ${await userToken({ roles: ["operator"] })}`,
    "content-type": "application/json",
  };
  const init = { method: "POST", body };
  for (const { path } of [reserveStock, cancelReservation, confirmReservation, restockPieces]) {
    expect(await shop.call(path, { ...init, headers })).toMatchObject({ status: 401 });
    expect((await shop.call(path, init)).body).toMatchObject({ code: "IDEMPOTENCY_KEY_MISSING" });
  }
});
