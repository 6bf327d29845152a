import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDure } from "dure";
import type { Dure, KeyedTransaction } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresStore } from "dure/postgres";
import pg from "pg";

/** What a handler is given beside its request. */
export type Keyed = KeyedTransaction<pg.PoolClient>;

/** What the examples have in common: a database with a table of orders, and a service. */
export interface Shop {
  readonly dure: Dure<pg.PoolClient>;
  /** Places an order, in the transaction of its request. */
  readonly placeOrder: (tx: Keyed["tx"], order: unknown) => Promise<{ readonly item: string }>;
  /** Sends requests to `POST /orders` there, and prints the answers. */
  readonly show: (base: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function openShop(): Promise<Shop> {
  const dataDir = await mkdtemp(join(tmpdir(), "dure-framework-"));
  const server = await startEmbeddedPostgres({ dataDir });
  const pool = new pg.Pool({ connectionString: await server.createDatabase("shop") });
  await migrate({ pool });
  await pool.query("create table orders (id int generated always as identity, item text)");
  return {
    dure: createDure({ service: "shop", store: postgresStore({ pool }) }),
    async placeOrder(tx, order) {
      const { item } = order as { readonly item: string };
      await tx.query("insert into orders (item) values ($1)", [item]);
      if (item === "unicorn") throw new Error("out of stock");
      return { item };
    },
    async show(base) {
      const send = async (item: string, key?: string): Promise<string> => {
        const answer = await fetch(`${base}/orders`, {
          method: "POST",
          headers: {
            "content-type": "application/json",
            ...(key !== undefined && { "idempotency-key": key }),
          },
          body: JSON.stringify({ item }),
        });
        const replayed = answer.headers.has("idempotent-replayed") ? ", replayed" : "";
        const body = (await answer.json()) as { item?: string; code?: string };
        return `${answer.status} ${body.item ?? body.code ?? "error"}${replayed}`;
      };
      console.log(`an order: ${await send("book", "k1")}`);
      console.log(`sent again: ${await send("book", "k1")}`);
      console.log(`the key with another order: ${await send("lamp", "k1")}`);
      console.log(`without a key: ${await send("book")}`);
      console.log(`an error after the write: ${await send("unicorn", "k2")}`);
      const { rows } = await pool.query<{ item: string }>("select item from orders");
      console.log(`orders: ${rows.map(({ item }) => item).join(", ")}`);
    },
    async close() {
      await pool.end();
      await server.stop();
      await rm(dataDir, { recursive: true });
    },
  };
}
