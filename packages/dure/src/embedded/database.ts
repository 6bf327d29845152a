import { DureError } from "../core/errors.ts";

/** The server's limit; a longer name would be cut and could meet another one. */
const NAME_BYTES_MAX = 63;
/** pg does not decode these in the path of a URL, so a name with one would lead to another database. */
const notInUrls = /[\0;/?:@&=+$,#]/;
/** duplicate_database, or unique_violation when two sessions create it at the same moment. */
const alreadyThere: readonly unknown[] = ["42P04", "23505"];

/**
 * Makes the database unless it is there, and answers its URL.
 *
 * @throws DureError CONFIGURATION_INVALID, EMBEDDED_POSTGRES_FAILED
 */
export async function createDatabase(base: string, name: string): Promise<string> {
  const byteCount = Buffer.byteLength(name);
  if (byteCount === 0 || byteCount > NAME_BYTES_MAX || notInUrls.test(name)) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      `createDatabase: the name must have 1 to ${NAME_BYTES_MAX} bytes and none of ; / ? : @ & = + $ , #`,
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
