/** Two sagas through all their kinds of steps: one is completed, the other is refused at its payment and undone. */
import pg from "pg";
import {
  createDure,
  PermanentError,
  saga,
  type StandardSchema,
  type StepCall,
} from "../../../src/index.ts";
import { migrate, postgresStore } from "../../../src/postgres/index.ts";
import { StepRefusedError } from "../../../src/core/errors.ts";
import type { Invariant, Scene } from "../../../src/explorer/index.ts";

interface Order {
  readonly orderId: string;
}

const orderSchema: StandardSchema<Order> = {
  "~standard": {
    version: 1,
    vendor: "test",
    validate: (value) => ({ value: { orderId: String((value as Partial<Order>).orderId) } }),
  },
};

export async function prepare({ databaseUrl }: Scene): Promise<void> {
  await using pool = openPool(databaseUrl);
  await migrate({ pool });
  await pool.query("create table orders (id text primary key, state text not null)");
  // What the participants did, by idempotency key: their own word, past all transactions of the saga.
  await pool.query(`create table action (
    key text primary key, name text not null, order_id text not null, state text not null)`);
}

export async function scenario(scene: Scene): Promise<void> {
  await placeOrders(scene);
}

/** The next process, and the client that asks again by the same id for what it has no answer to. */
export async function recover(scene: Scene): Promise<void> {
  await placeOrders(scene);
}

export async function observe({ databaseUrl }: Scene): Promise<unknown> {
  await using pool = openPool(databaseUrl);
  const rows = async (text: string): Promise<unknown> => (await pool.query(text)).rows;
  return {
    orders: await rows("select id, state from orders order by id"),
    sagas: await rows("select saga_id, status from dure.saga_instance order by saga_id"),
    live: await rows("select saga_id from dure.saga_live"),
    // A compensation of a call that may never have come leaves its mark, in some runs and not in others.
    actions: await rows("select name, order_id from action where state = 'done' order by 1, 2"),
  };
}

const nothingTwice: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  const { rows } = await pool.query<{ name: string; id: string; count: string }>(
    "select name, order_id as id, count(*) from action group by 1, 2 having count(*) > 1",
  );
  return rows.map(({ name, id, count }) => `${name} of ${id} came under ${count} keys`);
};

const moneyAndStockAgree: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  const { rows } = await pool.query<{ id: string; state: string; done: string[] }>(
    `select id, o.state, array(
       select name from action a where a.order_id = o.id and a.state = 'done' order by 1
     ) as done from orders o`,
  );
  const wanted: Readonly<Record<string, string>> = { paid: "capture,ship,stock", cancelled: "" };
  return rows
    .filter(({ state, done }) => wanted[state] !== done.join())
    .map(
      ({ id, state, done }) =>
        `order ${id} is ${state}, and there are: ${done.join() || "nothing"}`,
    );
};

export const invariants: Readonly<Record<string, Invariant>> = { moneyAndStockAgree, nothingTwice };

async function placeOrders(scene: Scene): Promise<void> {
  await using plain = openPool(scene.databaseUrl);
  const checkout = defineCheckout(scene, plain);
  const dure = createDure({
    service: "order",
    store: postgresStore({ pool: scene.explorerPool(plain) }),
    relay: false,
    sagas: { definitions: [checkout], leaseMs: 1_000, pollMs: 50 },
  });
  await dure.start();
  try {
    for (const orderId of ["good", "refused"]) {
      const started = await dure.sagas.start(checkout, { orderId }, { id: `SAGA-${orderId}` });
      await started.outcome();
      scene.point("reply.sent");
    }
  } finally {
    await dure.stop();
  }
}

function defineCheckout(scene: Scene, pool: pg.Pool) {
  const call = (name: string, { orderId }: Order, { key }: StepCall): Promise<void> =>
    scene.point(`${name}.call`, () => act(pool, name, orderId, key));
  const undo = (name: string, { orderId }: Order, key: string): Promise<void> =>
    scene.point(`${name}.undo`, () => unact(pool, name, orderId, key));
  return saga("checkout", { version: 1, input: orderSchema })
    .step("create-order", {
      local: async ({ input, tx }) => {
        await tx.query("insert into orders (id, state) values ($1, 'open')", [input.orderId]);
        return { orderId: input.orderId };
      },
      compensate: async ({ input, tx }) => {
        await tx.query("update orders set state = 'cancelled' where id = $1", [input.orderId]);
      },
    })
    .step("reserve-stock", {
      run: ({ input, call: own }) => call("stock", input, own),
      compensate: ({ input, call: own }) => undo("stock", input, own.compensates),
    })
    .pivot("capture-payment", { run: ({ input, call: own }) => call("capture", input, own) })
    .step("ship", { run: ({ input, call: own }) => call("ship", input, own) })
    .step("close-order", {
      statement: ({ input }) => ({
        text: "update orders set state = 'paid' where id = $1",
        params: [input.orderId],
      }),
    })
    .end();
}

/** A participant that knows its keys: a repeated call does nothing, and one after its compensation is refused. */
async function act(pool: pg.Pool, name: string, orderId: string, key: string): Promise<void> {
  if (name === "capture" && orderId === "refused")
    throw new StepRefusedError("CARD_REFUSED", "card refused");
  const { rows } = await pool.query<{ state: string }>(
    `insert into action (key, name, order_id, state) values ($1, $2, $3, 'done')
     on conflict (key) do update set key = excluded.key returning state`,
    [key, name, orderId],
  );
  if (rows[0]?.state === "undone") throw new PermanentError("it was compensated before");
}

async function unact(pool: pg.Pool, name: string, orderId: string, key: string): Promise<void> {
  await pool.query(
    `insert into action (key, name, order_id, state) values ($1, $2, $3, 'undone')
     on conflict (key) do update set state = 'undone'`,
    [key, name, orderId],
  );
}

function openPool(connectionString: string): pg.Pool & AsyncDisposable {
  const pool = new pg.Pool({ connectionString, max: 20 });
  pool.on("error", () => {});
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}
