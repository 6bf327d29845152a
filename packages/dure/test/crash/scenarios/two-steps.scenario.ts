/** A naive process of two steps without a journal: it charges, then writes the order, and after a death the customer tries again. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { createEffectLedger, type Invariant, type Scene } from "../../../src/explorer/index.ts";

/** With `TWO_STEPS_KEY=order` the provider gets the same key each time, and remembers it. */
const hasStableKey = process.env["TWO_STEPS_KEY"] === "order";

export async function prepare({ databaseUrl }: Scene): Promise<void> {
  await using pool = openPool(databaseUrl);
  await pool.query("create table orders (id text primary key, charge text)");
  await createEffectLedger({ pool }).prepare();
}

export async function scenario(scene: Scene): Promise<void> {
  await using pool = openPool(scene.databaseUrl);
  await checkout(scene, pool);
  scene.point("reply.sent");
}

export async function recover(scene: Scene): Promise<void> {
  await using pool = openPool(scene.databaseUrl);
  const { rowCount } = await pool.query("select from orders");
  if (rowCount === 0) await checkout(scene, pool);
}

export async function observe({ databaseUrl }: Scene): Promise<unknown> {
  await using pool = openPool(databaseUrl);
  return (await pool.query("select id from orders")).rows;
}

const nothingTwice: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  const charges = await createEffectLedger({ pool }).list();
  return charges.length > 1 ? [`the card was charged ${charges.length} times`] : [];
};

const nothingOwed: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  return await createEffectLedger({ pool }).nothingOwed(async ({ key }) => {
    const { rowCount } = await pool.query("select from orders where charge = $1", [key]);
    return rowCount === 1;
  });
};

export const invariants: Readonly<Record<string, Invariant>> = { nothingTwice, nothingOwed };

async function checkout({ explorerPool, point }: Scene, pool: pg.Pool): Promise<void> {
  const charge = hasStableKey ? "o-1" : randomUUID();
  await point("provider.charge", () => chargeOnce(pool, charge));
  await explorerPool(pool).query("insert into orders (id, charge) values ('o-1', $1)", [charge]);
}

/** The provider: it keeps what it did under the key, and does nothing for one that it knows. */
async function chargeOnce(pool: pg.Pool, key: string): Promise<void> {
  const ledger = createEffectLedger({ pool });
  const isKnown = (await ledger.list()).some((effect) => effect.key === key);
  if (!isKnown) await ledger.record({ name: "charge", key });
}

function openPool(connectionString: string): pg.Pool & AsyncDisposable {
  const pool = new pg.Pool({ connectionString });
  pool.on("error", () => {});
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}
