import { DureError } from "../core/errors.ts";

/** The server's limit; a longer name would be cut and could meet another one. */
const NAME_BYTES_MAX = 63;
/** duplicate_database, or unique_violation when two sessions create it at the same moment. */
const alreadyThere: readonly unknown[] = ["42P04", "23505"];

/**
 * Makes the database unless it is there, and answers its URL.
 *
 * @throws DureError CONFIGURATION_INVALID, EMBEDDED_POSTGRES_FAILED
 */
export async function createDatabase(base: string, name: string): Promise<string> {
  if (name === "" || name.includes("\0") || Buffer.byteLength(name) > NAME_BYTES_MAX) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      `createDatabase: the name must have 1 to ${NAME_BYTES_MAX} bytes and no NUL.`,
    );
  }
  const { default: pg } = await import("pg").catch((cause: unknown) => {
    throw new DureError(
      "EMBEDDED_POSTGRES_FAILED",
      "Creating a database needs the npm package pg: run `npm install pg`.",
      { cause },
    );
  });
  const client = new pg.Client({ connectionString: `${base}/postgres` });
  client.on("error", () => {}); // a server that ends in between also fails the query below
  try {
    await client.connect();
    await client.query(`create database ${client.escapeIdentifier(name)}`);
  } catch (cause) {
    const state = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (!alreadyThere.includes(state)) {
      throw new DureError("EMBEDDED_POSTGRES_FAILED", `Database ${name} could not be created.`, {
        cause,
      });
    }
  } finally {
    await client.end().catch(() => {});
  }
  return `${base}/${encodeURIComponent(name)}`;
}
