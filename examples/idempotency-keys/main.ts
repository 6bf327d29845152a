// A request with a key is carried out once: repeats get the first answer, however often and wherever they come.
import { rm } from "node:fs/promises";
import { createDure } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { idempotent } from "dure/http/fetch";
import { migrate, postgresStore } from "dure/postgres";
import pg from "pg";

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const pool = new pg.Pool({ connectionString: await server.createDatabase("shop") });
await migrate({ pool });
await pool.query("create table orders (id int generated always as identity, item text)");

const dure = createDure({ service: "shop", store: postgresStore({ pool }) });

const placeOrder = idempotent(
  dure,
  { principal: (request) => request.headers.get("x-user-id") ?? "anyone" },
  async ({ request, tx }) => {
    const { item } = (await request.json()) as { item: string };
    const { rows } = await tx.query("insert into orders (item) values ($1) returning id", [item]);
    if (item === "unicorn") return { status: 422, body: { reason: "out of stock" } };
    return {
      status: 201,
      headers: { location: `/orders/${Number(rows[0]?.["id"])}` },
      body: { item },
    };
  },
);

console.log("a hundred clicks on one button:");
const answers = await Promise.all(
  Array.from({ length: 100 }, () => placeOrder(order("book", "k1"))),
);
const texts = await Promise.all(answers.map(async (each) => `${each.status} ${await each.text()}`));
console.log(`  ${[...new Set(texts)].join(", ")}; ${await countOrders()}`);

console.log("the key with another order, without a key, and of another user:");
await show(order("lamp", "k1"));
await show(order("lamp"));
await show(order("book", "k1", "ben"));

console.log("a refusal is remembered, and leaves nothing behind:");
await show(order("unicorn", "k2"));
await show(order("unicorn", "k2"));

await pool.end();
await server.stop();
await rm("./data", { recursive: true });

function order(item: string, key?: string, user = "ann"): Request {
  return new Request("http://shop.example/orders", {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-user-id": user,
      ...(key !== undefined && { "idempotency-key": key }),
    },
    body: JSON.stringify({ item }),
  });
}

async function show(request: Request): Promise<void> {
  const answer = await placeOrder(request);
  const { code, ...body } = (await answer.json()) as { code?: string; reason?: string };
  const replayed = answer.headers.has("idempotent-replayed") ? ", replayed" : "";
  console.log(
    `  ${answer.status} ${code ?? JSON.stringify(body)}${replayed}; ${await countOrders()}`,
  );
}

async function countOrders(): Promise<string> {
  const { rows } = await pool.query<{ count: string }>("select count(*) from orders");
  return `${rows[0]?.count} in the table`;
}
