/** The compiler catches what does not fit: data, keys, options, handlers, clients. */
import type { Pool, PoolClient } from "pg";
import { describe, expectTypeOf, it } from "vitest";
import { z } from "zod";
import { createDure, event } from "../index.ts";
import type {
  Dure,
  EventDefinition,
  EventInput,
  EventOutput,
  ServiceTransaction,
  Transport,
} from "../index.ts";
import { postgresStore, postgresTransport } from "../postgres/index.ts";

declare const pool: Pool;
declare const transport: Transport;

const OrderPlaced = event("order.placed", {
  version: 1,
  schema: z.object({
    orderId: z.string(),
    amount: z.int(),
    placedAt: z.string().transform((text) => new Date(text)),
  }),
  key: (order) => order.orderId,
});
const dure = createDure({ service: "order", store: postgresStore({ pool }), transport });
const data = { orderId: "o-1", amount: 5, placedAt: "2026-01-01T00:00:00Z" };

describe("an event", () => {
  it("knows what goes in and what comes out of its schema", () => {
    expectTypeOf<EventInput<typeof OrderPlaced>["placedAt"]>().toEqualTypeOf<string>();
    expectTypeOf<EventOutput<typeof OrderPlaced>["placedAt"]>().toEqualTypeOf<Date>();
    expectTypeOf(OrderPlaced).toExtend<
      EventDefinition<EventInput<typeof OrderPlaced>, EventOutput<typeof OrderPlaced>>
    >();
  });

  it("has a key that is a string of its data", () => {
    const schema = z.object({ orderId: z.string(), amount: z.int() });
    // @ts-expect-error A number is no key.
    event("order.placed", { version: 1, schema, key: (order) => order.amount });
    const byCustomer = (order: { readonly customerId: string }): string => order.customerId;
    // @ts-expect-error There is no such field.
    event("order.placed", { version: 1, schema, key: byCustomer });
    // @ts-expect-error The version is missing.
    event("order.placed", { schema, key: (order: { orderId: string }) => order.orderId });
    // @ts-expect-error There is no such option.
    event("order.placed", { version: 1, schema, key: (order) => order.orderId, partitions: 3 });
  });

  it("is made of data that fits", () => {
    OrderPlaced.of(data);
    // @ts-expect-error A field is missing.
    OrderPlaced.of({ orderId: "o-1" });
    // @ts-expect-error A field is of another type.
    OrderPlaced.of({ ...data, amount: "5" });
    // @ts-expect-error There is no such field.
    OrderPlaced.of({ ...data, colour: "red" });
    // @ts-expect-error What goes in is the schema's input, not its output.
    OrderPlaced.of({ ...data, placedAt: new Date(0) });
  });
});

describe("a service", () => {
  it("has the client of its pool", () => {
    expectTypeOf(dure).toEqualTypeOf<Dure<PoolClient>>();
    void dure.transaction(async (tx) => {
      expectTypeOf(tx).toEqualTypeOf<ServiceTransaction<PoolClient>>();
      expectTypeOf(tx.client).toEqualTypeOf<PoolClient>();
      await tx.client.query({ text: "select 1", rowMode: "array" });
    });
  });

  it("hands on what the work returns", () => {
    expectTypeOf(dure.transaction(() => Promise.resolve(7))).toEqualTypeOf<Promise<number>>();
  });

  it("emits data that fits, and nothing else", () => {
    void dure.transaction(async (tx) => {
      tx.emit(OrderPlaced, data);
      // @ts-expect-error A field is missing.
      tx.emit(OrderPlaced, { orderId: "o-1", amount: 5 });
      // @ts-expect-error A field is of another type.
      tx.emit(OrderPlaced, { ...data, amount: "5" });
      // @ts-expect-error A type's name is no definition.
      tx.emit("order.placed", data);
      await dure.outbox.emit(tx, OrderPlaced.of(data));
      await dure.outbox.emit(tx, [OrderPlaced.of(data), OrderPlaced.of(data)]);
      // @ts-expect-error Bare data has no definition.
      await dure.outbox.emit(tx, data);
      // @ts-expect-error The transaction comes first.
      await dure.outbox.emit(OrderPlaced.of(data));
    });
  });

  it("gives its handlers the data of the schema's output, and the client", () => {
    dure.on(
      OrderPlaced,
      { group: "payment", whenPoisoned: "skip", from: "latest" },
      (message, tx) => {
        expectTypeOf(message.data).toEqualTypeOf<EventOutput<typeof OrderPlaced>>();
        expectTypeOf(message.data.placedAt).toEqualTypeOf<Date>();
        expectTypeOf(message.id).toEqualTypeOf<string>();
        expectTypeOf(tx.client).toEqualTypeOf<PoolClient>();
        // @ts-expect-error There is no such field.
        void message.data.customerId;
        // @ts-expect-error A message is not changed.
        message.key = "other";
      },
    );
    // @ts-expect-error There is no such policy.
    dure.on(OrderPlaced, { whenPoisoned: "retry" }, () => {});
    // @ts-expect-error There is no such option.
    dure.on(OrderPlaced, { groups: ["a"] }, () => {});
    // @ts-expect-error A handler takes data of this event.
    dure.on(OrderPlaced, {}, (message: { readonly data: { readonly other: string } }) => {
      void message;
    });
  });
});

describe("options", () => {
  const store = postgresStore({ pool });

  it("are known, of the right type, and complete", () => {
    createDure({ service: "a", store, relay: false, consumer: { retry: { attempts: 3 } } });
    // @ts-expect-error The store is missing.
    createDure({ service: "a" });
    // @ts-expect-error There is no such option.
    createDure({ service: "a", store, retries: 3 });
    // @ts-expect-error There is no such option of the relay.
    createDure({ service: "a", store, relay: { batchSize: 3 } });
    // @ts-expect-error Milliseconds are a number.
    createDure({ service: "a", store, relay: { leaseMs: "5s" } });
    // @ts-expect-error true is no relay option: it is on by default.
    createDure({ service: "a", store, relay: true });
    // @ts-expect-error A pool is no store.
    createDure({ service: "a", store: pool });
    // @ts-expect-error undefined is not the same as absent.
    createDure({ service: "a", store, transport: undefined });
  });

  it("of the PostgreSQL parts take a pool, and no client or URL", () => {
    postgresTransport({ pool, schema: "dure", leaseMs: 1_000 });
    // @ts-expect-error A URL is no pool: pools are handed in.
    postgresStore({ pool: "postgres://localhost/a" });
    // @ts-expect-error There is no such option.
    postgresStore({ pool, tablePrefix: "dure_" });
    // @ts-expect-error There is no such option.
    postgresTransport({ pool, partitions: 8 });
  });
});
