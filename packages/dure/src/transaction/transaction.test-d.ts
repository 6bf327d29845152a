/** A transaction is told from a pool, a db or a root client by its type, with the libraries' own types. */
import type { NodePgDatabase } from "drizzle-orm/node-postgres";
import type { PostgresJsDatabase } from "drizzle-orm/postgres-js";
import type { ControlledTransaction, Kysely, Transaction } from "kysely";
import type { Client, Pool, PoolClient } from "pg";
import type { ReservedSql, Sql, TransactionSql } from "postgres";
import { expectTypeOf, it } from "vitest";
import type { TransactionHandle } from "../index.ts";
import { fromDrizzle, fromKysely, fromPg, fromPostgresJs } from "./index.ts";

interface Tables {
  readonly order: { readonly id: string };
}

it("pg: a client, not a pool", () => {
  const clients = (pooled: PoolClient, single: Client, pool: Pool): void => {
    expectTypeOf(fromPg(pooled)).toEqualTypeOf<TransactionHandle>();
    fromPg(single);
    // @ts-expect-error A pool's queries run on any connection.
    fromPg(pool);
    // @ts-expect-error A URL is no client.
    fromPg("postgres://localhost/a");
  };
  expectTypeOf(clients).toBeFunction();
});

it("postgres.js: the sql of begin or a reserved one, not the root", () => {
  const clients = (transaction: TransactionSql, reserved: ReservedSql, root: Sql): void => {
    expectTypeOf(fromPostgresJs(transaction)).toEqualTypeOf<TransactionHandle>();
    fromPostgresJs(reserved);
    // @ts-expect-error The root's queries run on any connection.
    fromPostgresJs(root);
  };
  expectTypeOf(clients).toBeFunction();
});

it("Kysely: a transaction, not the db", () => {
  const clients = (
    transaction: Transaction<Tables>,
    controlled: ControlledTransaction<Tables>,
    db: Kysely<Tables>,
  ): void => {
    expectTypeOf(fromKysely(transaction)).toEqualTypeOf<TransactionHandle>();
    fromKysely(controlled);
    // @ts-expect-error The db's queries run on any connection.
    fromKysely(db);
  };
  expectTypeOf(clients).toBeFunction();
});

it("Drizzle: the tx of node-postgres or postgres.js, not the db", () => {
  const clients = (onPg: NodePgDatabase, onPostgresJs: PostgresJsDatabase): void => {
    void onPg.transaction((tx) => {
      expectTypeOf(fromDrizzle(tx)).toEqualTypeOf<TransactionHandle>();
      return Promise.resolve();
    });
    void onPostgresJs.transaction((tx) => Promise.resolve(fromDrizzle(tx)));
    // @ts-expect-error The db's queries run on any connection.
    fromDrizzle(onPg);
    // @ts-expect-error The db's queries run on any connection.
    fromDrizzle(onPostgresJs);
  };
  expectTypeOf(clients).toBeFunction();
});
