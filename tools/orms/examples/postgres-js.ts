// postgres.js: the event is written through the sql of begin, and commits or rolls back with the row.
import { fromPostgresJs } from "dure/transaction";
import postgres from "postgres";
import { openShop, OrderPlaced } from "./shop.ts";

const { url, dure, show, close } = await openShop();
const root = postgres(url);

await show((order, refusal) =>
  root.begin(async (sql) => {
    await sql`insert into orders ${sql({ ...order })}`;
    await dure.outbox.emit(fromPostgresJs(sql), OrderPlaced.of(order));
    if (refusal !== undefined) throw new Error(refusal);
  }),
);

await root.end();
await close();
