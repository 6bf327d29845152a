import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import * as sql from "./end-state-sql.ts";

type DatabaseUrls = Readonly<Record<string, string>>;
type Rows = readonly Readonly<Record<string, unknown>>[];

/** The services that have an outbox. */
const speakers = ["order", "payment", "inventory", "delivery"] as const;
/** Far more than it takes, for machines that are busy. */
const restMsMax = 60_000;

/** All that a checkout has left in all services, without ids and times. */
export async function readEndState(urls: DatabaseUrls): Promise<unknown> {
  const found: Record<string, Record<string, Rows>> = {};
  for (const [database, statements] of Object.entries(sql.endState)) {
    found[database] = await readAll(urls, database, statements);
  }
  for (const database of speakers) {
    Object.assign(found[database] ?? {}, await readAll(urls, database, sql.messagingState));
  }
  return found;
}

/**
 * Waits until there is an order and nothing of it is under way anywhere: no saga, no operation, no held
 * piece, no event that is not told.
 *
 * @throws Error naming what still is after a minute
 */
export async function waitForRest(urls: DatabaseUrls): Promise<void> {
  const deadline = performance.now() + restMsMax;
  for (;;) {
    const unrest = await findUnrest(urls);
    if (unrest.length === 0) return;
    if (performance.now() > deadline) {
      throw new Error(`not at rest after ${restMsMax} ms: ${unrest.join(", ")}`);
    }
    await delay(50);
  }
}

/** What the order, the money and the goods came to, each in a word: `{ order: "COMPLETED", … }`. */
export async function readStory(urls: DatabaseUrls): Promise<Readonly<Record<string, unknown>>> {
  const told: Record<string, unknown> = {};
  for (const [database, statement] of Object.entries(sql.story)) {
    const { story } = await readAll(urls, database, { story: statement });
    told[database] = story?.[0]?.["told"];
  }
  return told;
}

async function findUnrest(urls: DatabaseUrls): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [database, statement] of Object.entries(sql.underWay)) {
    const count = await readCount(urls, database, statement);
    if (count !== 0) found.push(`${count} under way in ${database}`);
  }
  for (const database of speakers) {
    const count = await readCount(urls, database, sql.unpublished);
    if (count !== 0) found.push(`${count} events of ${database}`);
  }
  return found;
}

async function readCount(urls: DatabaseUrls, database: string, statement: string): Promise<number> {
  const { counted } = await readAll(urls, database, { counted: statement });
  return Number(counted?.[0]?.["count"]);
}

async function readAll(
  urls: DatabaseUrls,
  database: string,
  statements: Readonly<Record<string, string>>,
): Promise<Record<string, Rows>> {
  const client = new Client({ connectionString: urls[database] });
  await client.connect();
  try {
    const found: Record<string, Rows> = {};
    for (const [name, statement] of Object.entries(statements)) {
      found[name] = (await client.query<Record<string, unknown>>(statement)).rows;
    }
    return found;
  } finally {
    await client.end();
  }
}
