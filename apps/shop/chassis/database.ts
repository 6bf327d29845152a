import { Pool } from "pg";
import type { Logger } from "pino";
import type { ServiceName } from "./config.ts";
import type { ServiceInstruments } from "./instruments.ts";
import type { ReadinessCheck } from "./operational-routes.ts";

/** How a service reaches its own database. */
export interface DatabaseOptions {
  readonly url: string;
  /** Becomes `application_name`, so that `pg_stat_activity` says whose connection it is. */
  readonly service: ServiceName;
  readonly poolMax: number;
  readonly logger: Logger;
  readonly instruments?: ServiceInstruments | undefined;
  /** How long one answer may take before its connection is given up. @defaultValue 32000 */
  readonly answerMsMax?: number;
}

/** No statement of the shop takes so long; one that hangs holds one of few connections. */
const statementMsMax = 30_000;

/**
 * A pool for one service. A connection that breaks while idle is logged and replaced, and one that breaks
 * between two queries of a transaction fails the next of them; without the listeners either would end the
 * process, and in the embedded shop every service with it.
 */
export function createDatabasePool(options: DatabaseOptions): Pool {
  const pool = new Pool({
    connectionString: options.url,
    application_name: `shop-${options.service}`,
    max: options.poolMax,
    connectionTimeoutMillis: 5000,
    idleTimeoutMillis: 120_000,
    maxLifetimeSeconds: 300,
    statement_timeout: statementMsMax,
    // The server cannot end a statement of which it never heard: over a connection that is half open,
    // nobody answers, for ever. After the server's own limit, so that its word comes first.
    query_timeout: options.answerMsMax ?? statementMsMax + 2_000,
    keepAlive: true,
  });
  pool.on("error", (error) => options.logger.warn({ err: error }, "idle connection lost"));
  // The pool listens only while it has the connection itself.
  pool.on("connect", (client) => void client.on("error", () => undefined));
  return options.instruments?.pool(pool) ?? pool;
}

/** Ready when the database answers. */
export function databaseReadiness(pool: Pool): ReadinessCheck {
  return {
    name: "database",
    check: async () => {
      await pool.query("/* shop:ready */ select 1");
    },
  };
}
