/** Keyed requests: one that places an order with an event and a saga, one that is refused; the client repeats what it has no answer to. */
import pg from "pg";
import { createDure, saga } from "../../../src/index.ts";
import type { Invariant, Scene } from "../../../src/explorer/index.ts";
import { idempotent } from "../../../src/http/fetch/index.ts";
import { migrate, postgresStore } from "../../../src/postgres/index.ts";
import { order } from "../../integration/keyed-orders.ts";
import { stepSchema, stepTaken } from "../../integration/service-fixture.ts";

/** How long a dead owner's key may be held: the scenario is long over by then, and the explorer says so. */
const leaseMs = 2_000;

const placed = saga("placed", { version: 1, input: stepSchema })
  .step("note", {
    statement: ({ input }) => ({
      text: "update orders set item = item where item = $1",
      params: [input.key],
    }),
  })
  .end();

export async function prepare({ databaseUrl }: Scene): Promise<void> {
  await using pool = openPool(databaseUrl);
  await migrate({ pool });
  await pool.query(
    "create table orders (id bigint generated always as identity primary key, item text not null)",
  );
  // What the client was answered, past all transactions of the service.
  await pool.query("create table answered (key text, answer text)");
}

export async function scenario(scene: Scene): Promise<void> {
  await sendAll(scene);
}

/** The next process, and the client that sends everything again. */
export async function recover(scene: Scene): Promise<void> {
  await sendAll(scene);
}

export async function observe({ databaseUrl }: Scene): Promise<unknown> {
  await using pool = openPool(databaseUrl);
  const rows = async (text: string): Promise<unknown> => (await pool.query(text)).rows;
  return {
    orders: await rows("select item from orders order by item"),
    events: await rows("select key, type from dure.outbox_message order by key"),
    sagas: await rows("select saga_id from dure.saga_instance order by saga_id"),
    records: await rows("select key, status from dure.idempotency_record order by key"),
  };
}

const oneAnswerPerKey: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  const { rows } = await pool.query<{ key: string; count: string }>(
    "select key, count(distinct answer) from answered group by key having count(distinct answer) > 1",
  );
  return rows.map(({ key, count }) => `${key} was answered in ${count} ways`);
};

export const invariants: Readonly<Record<string, Invariant>> = { oneAnswerPerKey };

async function sendAll(scene: Scene): Promise<void> {
  await using plain = openPool(scene.databaseUrl);
  const dure = createDure({
    service: "steps",
    store: postgresStore({ pool: scene.explorerPool(plain) }),
    relay: false,
    sagas: { definitions: [placed] },
  });
  const options = { principal: () => "anyone", leaseMs, waitMsMax: 10_000 };
  const post = idempotent(dure, options, async ({ request, tx }) => {
    const { item } = (await request.json()) as { item: string };
    const { rows } = await tx.query("insert into orders (item) values ($1) returning id", [item]);
    tx.emit(stepTaken, { key: item, n: 1 });
    await dure.sagas.start(placed, { key: item, n: 1 }, { id: `SAGA-${item}`, tx });
    const status = item === "refused" ? 422 : 201;
    return { status, body: { id: String(rows[0]?.["id"]), item } };
  });
  for (const item of ["tea", "refused"]) {
    const answer = await sendUntilAnswered(() => post(order(item, { "idempotency-key": item })));
    scene.point("reply.sent");
    await plain.query("insert into answered (key, answer) values ($1, $2)", [item, answer]);
  }
  await dure.stop();
}

/** As a client does that has lost its connection: bounded, and never with another key. */
async function sendUntilAnswered(send: () => Promise<Response>): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await send();
      return `${response.status} ${await response.text()}`;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

function openPool(connectionString: string): pg.Pool & AsyncDisposable {
  const pool = new pg.Pool({ connectionString, max: 5 });
  pool.on("error", () => {});
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}
