export { fromDrizzle } from "./from-drizzle.ts";
export type { DrizzleTransaction } from "./from-drizzle.ts";
export { fromKysely } from "./from-kysely.ts";
export type { KyselyTransaction } from "./from-kysely.ts";
export { fromPg } from "./from-pg.ts";
export type { PgTransactionClient } from "./from-pg.ts";
export { fromPostgresJs } from "./from-postgres-js.ts";
export type { PostgresJsTransaction } from "./from-postgres-js.ts";
