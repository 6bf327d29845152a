import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import type { DatabaseServer } from "./chaos-shop.ts";
import { idleTransactions, logLimbo, messagingLimbo, serviceLimbo } from "./chaos-sql.ts";

const pollMs = 500;

/**
 * Waits until nothing is under way anywhere and nobody who is gone holds anything.
 *
 * @returns what still is when the patience is over
 */
export async function awaitNoLimbo(
  database: DatabaseServer,
  { withinMs }: { readonly withinMs: number },
): Promise<readonly string[]> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const found = await findLimbo(database);
    if (found.length === 0 || performance.now() > deadline) return found;
    await delay(pollMs);
  }
}

async function findLimbo(database: DatabaseServer): Promise<readonly string[]> {
  const found = await countAll(database.url, idleTransactions);
  for (const [service, own] of Object.entries(serviceLimbo)) {
    const counts = await countAll(database.urlOf(service), { ...own, ...messagingLimbo });
    found.push(...counts.map((each) => `${service}: ${each}`));
  }
  found.push(...(await countAll(database.urlOf("bus"), logLimbo)));
  return found;
}

async function countAll(
  url: string,
  statements: Readonly<Record<string, string>>,
): Promise<string[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const found: string[] = [];
    for (const [what, statement] of Object.entries(statements)) {
      const { rows } = await client.query<{ count: string }>(statement);
      const count = Number(rows[0]?.count);
      if (count > 0) found.push(`${count} ${what}`);
    }
    return found;
  } finally {
    await client.end();
  }
}
