import { migrate, printMigrations } from "../postgres/index.ts";
import { checkSchemaName, quoteIdentifier } from "../postgres/pool.ts";
import { withPool } from "./database.ts";
import type { DatabaseOptions } from "./database.ts";
import type { CliOutput } from "./output.ts";

/** The options of `dure migrate`. */
export interface MigrateCommandOptions extends DatabaseOptions {
  readonly print?: true;
}

/** `dure migrate`: applies what is missing, or prints everything. */
export async function runMigrate(options: MigrateCommandOptions, output: CliOutput): Promise<void> {
  const { schema } = options;
  if (options.print === true) {
    const quoted = quoteIdentifier(checkSchemaName(schema));
    // psql and every other tool can run it: no psql variable is left.
    output.out((await printMigrations()).replaceAll(':"schema"', quoted).trimEnd());
    return;
  }
  const applied = await withPool(options, (pool) => migrate({ pool, schema }));
  for (const name of applied) output.out(`applied ${name}`);
  output.out(
    applied.length === 0
      ? `schema "${schema}" was up to date`
      : `schema "${schema}" is up to date: ${applied.length} migrations applied`,
  );
}
