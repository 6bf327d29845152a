import type { EmbeddedPostgres } from "dure/embedded";
import { Client } from "pg";
import { writers } from "./load.ts";
import type { Variant } from "./load.ts";
import { text } from "./service.ts";

/** The yardstick: single-row INSERT autocommits, prepared, a connection for each writer. */
export interface RawInserts extends AsyncDisposable, Variant {
  empty(): Promise<void>;
}

/** The name under which it stands in ratios. */
export const raw = "raw insert";

/** Makes the yardstick in a database of its own. */
export async function openRawInserts(server: EmbeddedPostgres, name: string): Promise<RawInserts> {
  const connectionString = await server.createDatabase(name);
  const clients = Array.from({ length: writers }, () => new Client({ connectionString }));
  for (const client of clients) client.on("error", () => undefined);
  await Promise.all(clients.map((client) => client.connect()));
  const query = async (sql: string): Promise<void> => {
    await clients[0]?.query(sql);
  };
  await query(`create table raw_row (
    id bigint generated always as identity primary key, data text, at timestamptz default now()
  )`);
  const insert = { name: "insert", text: "insert into raw_row (data) values ($1)", values: [text] };
  return {
    name: raw,
    work: (writer) => clients[writer]?.query(insert) ?? Promise.resolve(),
    empty: () => query("truncate raw_row"),
    async [Symbol.asyncDispose]() {
      await Promise.all(clients.map((client) => client.end()));
    },
  };
}
