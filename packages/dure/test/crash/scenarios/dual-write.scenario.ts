/** A naive program: it commits the order, and then tells the broker. Nobody tells it if the process dies between the two. */
import pg from "pg";
import {
  createEffectLedger,
  type Invariant,
  type ReferenceSnapshots,
  type Scene,
} from "../../../src/explorer/index.ts";

export async function prepare({ databaseUrl }: Scene): Promise<void> {
  await withPool(databaseUrl, async (pool) => {
    await pool.query("create table orders (id text primary key)");
    await createEffectLedger({ pool }).prepare();
  });
}

export async function scenario({ databaseUrl, explorerPool, point }: Scene): Promise<void> {
  await withPool(databaseUrl, async (pool) => {
    const client = await explorerPool(pool).connect();
    await client.query("begin");
    await client.query("insert into orders (id) values ($1)", ["o-1"]);
    await client.query("commit");
    client.release();
    const broker = createEffectLedger({ pool });
    await point("broker.publish", () => broker.record({ name: "order.created", key: "o-1" }));
  });
}

export async function observe({ databaseUrl }: Scene): Promise<unknown> {
  return withPool(databaseUrl, async (pool) => ({
    orders: (await pool.query("select id from orders")).rows,
    told: await createEffectLedger({ pool }).list(),
  }));
}

const everyOrderIsTold: Invariant = async ({ databaseUrl }) =>
  withPool(databaseUrl, async (pool) => {
    const { rows } = await pool.query<{ id: string }>("select id from orders");
    const told = new Set((await createEffectLedger({ pool }).list()).map(({ key }) => key));
    return rows.filter(({ id }) => !told.has(id)).map(({ id }) => `nobody was told of order ${id}`);
  });

export const invariants: Readonly<Record<string, Invariant>> = { everyOrderIsTold };

/** Nobody is there to ask again: an order that was never placed is in order. */
export function outcomes({ completed, untouched }: ReferenceSnapshots): readonly unknown[] {
  return [completed, untouched];
}

async function withPool<Answer>(
  connectionString: string,
  work: (pool: pg.Pool) => Promise<Answer>,
): Promise<Answer> {
  const pool = new pg.Pool({ connectionString });
  pool.on("error", () => {});
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}
