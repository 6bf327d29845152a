import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDure, event } from "dure";
import type { Dure, EventDefinition } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresStore } from "dure/postgres";
import pg from "pg";
import { z } from "zod";

/** An order, as all examples place it. */
export interface Order {
  readonly id: string;
  readonly amount: number;
}

export const OrderPlaced: EventDefinition<Order> = event("order.placed", {
  version: 1,
  schema: z.object({ id: z.string(), amount: z.int() }),
  key: (order) => order.id,
});

/** What the examples have in common: a database with a table of orders, and a service. */
export interface Shop {
  readonly url: string;
  readonly dure: Dure;
  /** Places one order that stays and one that is taken back, and prints what there is. */
  readonly show: (
    placeOrder: (order: Order, refusal?: string) => Promise<unknown>,
  ) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Starts a PostgreSQL of its own. Nothing is published: the process has no transport, another one may. */
export async function openShop(): Promise<Shop> {
  const dataDir = await mkdtemp(join(tmpdir(), "dure-orm-"));
  const server = await startEmbeddedPostgres({ dataDir });
  const url = await server.createDatabase("shop");
  const pool = new pg.Pool({ connectionString: url });
  await migrate({ pool });
  await pool.query("create table orders (id text primary key, amount int not null)");
  const describe = async (): Promise<string> => {
    const { rows: orders } = await pool.query<Order>("select id from orders");
    const { rows: events } = await pool.query<{ key: string; type: string; state: string }>(
      "select key, type, state from dure.outbox_status",
    );
    const all = events.map(({ type, key, state }) => `${type} of ${key} is ${state}`);
    return `orders ${orders.map((order) => order.id).join(", ")}; ${all.join(", ")}`;
  };
  return {
    url,
    dure: createDure({ service: "shop", store: postgresStore({ pool }) }),
    async show(placeOrder) {
      await placeOrder({ id: "o-1", amount: 4200 });
      console.log(`committed: ${await describe()}`);
      await placeOrder({ id: "o-2", amount: 900 }, "the customer left").catch((error: Error) =>
        console.log(`rolled back: ${error.message}`),
      );
      console.log(`still: ${await describe()}`);
    },
    async close() {
      await pool.end();
      await server.stop();
      await rm(dataDir, { recursive: true });
    },
  };
}
