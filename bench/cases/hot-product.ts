import { createDure } from "dure";
import type { Dure } from "dure";
import { postgresSemanticLocks, postgresStore } from "dure/postgres";
import type { PoolClient } from "pg";
import type { BenchCase } from "../context.ts";
import { openDatabase } from "../database.ts";
import type { Database } from "../database.ts";
import { ratioFigure } from "../figure.ts";
import { pause, rotate } from "../load.ts";
import { Series } from "../measure.ts";

/** What the saga does between reserving and confirming: it asks for the payment. */
const betweenMs = 5;
/** Whoever finds the product held tries again so soon. */
const againMs = 1;
const guarded = "guarded update of the row";
const locked = "semantic lock of the product";

/**
 * Everybody buys one product, each as a saga that reserves in one transaction, asks elsewhere, and confirms in
 * another. The same tables, with the product under a semantic lock from one to the other, and as the shop does
 * it: a guarded update, and the lock on what is only the saga's own, its reservation.
 */
export const measureHotProduct: BenchCase = async ({ options, server, progress }) => {
  await using database = await openDatabase(server, "hot_product");
  await database.pool.query(
    `create table stock (id text primary key, available bigint not null check (available >= 0),
       reserved bigint not null default 0, sold bigint not null default 0);
     create table reservation (id text primary key, quantity bigint not null);
     insert into stock (id, available) values ('tea', 1000000000)`,
  );
  const dure = createDure({
    service: "inventory",
    store: postgresStore<PoolClient>({ pool: database.pool }),
  });
  const series = new Series();
  for (let round = 1; round <= options.rounds; round += 1) {
    const rates = await rotate(
      [
        { name: guarded, work: () => buy(dure, newSaga(), "reservation") },
        { name: locked, work: () => buy(dure, newSaga(), "product") },
      ],
      options,
    );
    for (const [name, rate] of rates) series.add(name, rate);
    progress(`hot product, round ${round}/${options.rounds}`);
  }
  await checkStock(database);
  return [ratioFigure(series, "HOT", { work: guarded, base: locked })];
};

let sagas = 0;
const newSaga = (): string => `SAGA-${(sagas += 1)}`;

/** One piece, reserved and confirmed. */
async function buy(
  dure: Dure<PoolClient>,
  owner: string,
  held: "product" | "reservation",
): Promise<void> {
  const resource = held === "product" ? "product:tea" : `reservation:${owner}`;
  const token = await reserve(dure, resource, owner);
  await pause(betweenMs);
  await dure.transaction(async (tx) => {
    const { rowCount } = await tx.client.query(
      "update stock set reserved = reserved - 1, sold = sold + 1 where id = 'tea' and reserved >= 1",
    );
    if (rowCount !== 1) throw new Error("nothing was reserved");
    await tx.client.query("delete from reservation where id = $1", [owner]);
    await locks.release(tx, { resource, owner, token });
  });
}

const locks = postgresSemanticLocks();

async function reserve(dure: Dure<PoolClient>, resource: string, owner: string): Promise<number> {
  for (;;) {
    const token = await dure.transaction(async (tx) => {
      const outcome = await locks.acquire(tx, { resource, owner });
      if (outcome.kind !== "acquired") return undefined;
      const { rowCount } = await tx.client.query(
        "update stock set available = available - 1, reserved = reserved + 1 where id = 'tea' and available >= 1",
      );
      if (rowCount !== 1) throw new Error("sold out");
      await tx.client.query("insert into reservation (id, quantity) values ($1, 1)", [owner]);
      return outcome.lock.token;
    });
    if (token !== undefined) return token;
    await pause(againMs);
  }
}

/** A rate of what was done wrongly is none. */
async function checkStock({ pool }: Database): Promise<void> {
  const { rows } = await pool.query<{ isRight: boolean }>(
    `select available + sold = 1000000000 and reserved = 0
       and not exists (select from reservation) as "isRight" from stock`,
  );
  if (rows[0]?.isRight !== true) throw new Error("the stock does not add up");
}
