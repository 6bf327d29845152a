import type { AdminStore } from "../admin/admin-store.ts";
import { postgresAdminStore } from "./admin-store.ts";
import { checkSchemaName } from "./pool.ts";
import type { PostgresPool } from "./pool.ts";

/** What an operator may see and do, for a program that is not the service: the CLI, a console. */
export function postgresAdmin(options: {
  readonly pool: PostgresPool;
  /** @defaultValue "dure" */
  readonly schema?: string;
}): AdminStore {
  const { pool } = options;
  return postgresAdminStore(pool, checkSchemaName(options.schema ?? "dure"), pool);
}
