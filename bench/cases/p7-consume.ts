import { createDure, newId, systemClock } from "dure";
import type { ConsumerOptions, Message, MessageLink, Transport } from "dure";
import { postgresStore, postgresTransport } from "dure/postgres";
import type { Pool } from "pg";
import type { BenchCase } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { ratioFigure } from "../figure.ts";
import { rotate, untilCount, untilTrue } from "../load.ts";
import { Series } from "../measure.ts";
import { openRawInserts, raw } from "../raw.ts";
import { Measured, text } from "../service.ts";

const keys = 10_000;
const publishedTogether = 1_000;

const settings: readonly { readonly name: string; readonly consumer: ConsumerOptions }[] = [
  { name: "consume, defaults", consumer: {} },
  { name: "consume, batches of 500, 8 at once", consumer: { batchSizeMax: 500, concurrency: 8 } },
];
const fromStart = (name: string): string => `${name}, from start()`;
const rawBeside = (name: string): string => `${raw}, beside ${name}`;

/** P7: how fast messages that wait in the log are handled, one insert each, in the inbox's transaction. */
export const measureConsume: BenchCase = async ({ options, server, progress }) => {
  await using database = await openDatabase(server, "consume");
  await using rawInserts = await openRawInserts(server, "consume_raw");
  const { pool } = database;
  await pool.query(`create table consumed (
    id bigint generated always as identity primary key, consumer text, message_id text, data text
  )`);
  await fillLog(pool, options.messages);
  await settle(pool);
  const series = new Series();
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const [index, { name, consumer }] of settings.entries()) {
      await pool.query("truncate consumed");
      await rawInserts.empty();
      await pool.query("checkpoint");
      const rawRates = await rotate([rawInserts], { seconds: options.seconds / 2, slices: 1 });
      series.add(rawBeside(name), rawRates.get(raw) ?? Number.NaN);
      // A group of its own reads the same log from its start.
      const group = `round-${round}-${index}`;
      const rates = await consume(pool, { group, consumer, total: options.messages });
      series.add(name, rates.fromHalf);
      series.add(fromStart(name), rates.fromStart);
      progress(
        `P7 round ${round}/${options.rounds}: ${Math.round(rates.fromHalf)}/s with ${name}, raw ${Math.round(rawRates.get(raw) ?? 0)}/s`,
      );
    }
  }
  return settings.flatMap(({ name }) => [
    ratioFigure(series, "P7", { work: name, base: rawBeside(name), of: raw, atLeast: 1 }),
    ratioFigure(series, "P7", { work: fromStart(name), base: rawBeside(name), of: raw }),
  ]);
};

/** Publishes the messages as a relay would, each linked to the one before it in its stream. */
async function fillLog(pool: Pool, total: number): Promise<void> {
  const transport = postgresTransport({ pool });
  const previous = new Map<string, Message>();
  const { signal } = new AbortController();
  for (let from = 0; from < total; from += publishedTogether) {
    const count = Math.min(publishedTogether, total - from);
    const messages = Array.from({ length: count }, (_, index) => {
      const id = `k${(from + index) % keys}`;
      const message = messageOf({ id, n: from + index, text }, previous.get(id));
      previous.set(id, message);
      return message;
    });
    await transport.publish(messages, { fences: [], signal });
  }
  await transport.close();
}

function messageOf(
  data: { readonly id: string; readonly n: number; readonly text: string },
  before: Message | undefined,
): Message {
  const link: MessageLink =
    before === undefined
      ? { kind: "first" }
      : { kind: "after", previousId: before.id, previousAt: before.time };
  return {
    id: newId(systemClock),
    source: "bench",
    topic: Measured.topic,
    key: data.id,
    type: Measured.type,
    version: Measured.version,
    time: new Date().toISOString(),
    data: JSON.stringify(data),
    link,
  };
}

/**
 * Handles the whole log once. The second half is counted by itself: after a start the first batch of each
 * partition is handled with care, one message at a time, which a service that runs has behind it.
 */
async function consume(
  pool: Pool,
  options: { readonly group: string; readonly consumer: ConsumerOptions; readonly total: number },
): Promise<{ fromStart: number; fromHalf: number }> {
  const { group, consumer, total } = options;
  const transport: Transport = postgresTransport({ pool });
  const store = postgresStore({ pool });
  const dure = createDure({ service: "bench", store, transport, relay: false, consumer });
  const half = Math.floor(total / 2);
  let count = 0;
  let halfAt = 0;
  dure.on(Measured, { group }, async (message, tx) => {
    // Prepared, as the yardstick's insert is.
    await tx.client.query({
      name: "consume",
      text: "insert into consumed (consumer, message_id, data) values ($1, $2, $3)",
      values: [group, message.id, message.data.text],
    });
    count += 1;
    if (count === half) halfAt = performance.now();
  });
  try {
    const startedAt = performance.now();
    await dure.start();
    await untilCount("handled messages", () => count, total);
    await untilTrue("all handlers have committed", async () => {
      const { rows } = await pool.query<{ done: boolean }>(
        "select count(*) = $1 as done from consumed",
        [total],
      );
      return rows[0]?.done === true;
    });
    const endedAt = performance.now();
    return {
      fromHalf: ((total - half) * 1_000) / (endedAt - halfAt),
      fromStart: (total * 1_000) / (endedAt - startedAt),
    };
  } finally {
    await dure.stop();
    await transport.close();
  }
}
