import type { Pool } from "pg";
import { dureTransaction } from "../business.ts";
import type { BenchCase, BenchContext } from "../context.ts";
import { openDatabase } from "../database.ts";
import { pace } from "../load.ts";
import { measurePairs, preparePair } from "../pairs.ts";
import type { Pair } from "../pairs.ts";
import { createNullSink, relayingService } from "../service.ts";

const perSecond = 1_000;

/**
 * P10: what a transaction costs that stays open and holds the horizon of dead rows. The other side is on a
 * server of its own: a transaction id that is in progress holds the snapshots of all databases of a server.
 */
export const measureHeldXmin: BenchCase = async (context) => {
  const { options, progress } = context;
  await using burdened = await openDatabase(context.server, "held");
  await using plain = await openDatabase(await context.servers.start(), "not_held");
  const pair = { plain, burdened };
  await preparePair(pair);
  await using _held = await holdXmin(burdened.pool);
  progress(`P10 writes for ${options.holdSeconds} s on both sides, one under a held transaction`);
  await writeOnBoth(context, pair);
  return await measurePairs(context, pair, {
    caseName: "P10",
    burden: `xmin held for ${options.holdSeconds} s`,
    above: 0.95,
  });
};

/** A REPEATABLE READ transaction with an id of its own, open until it is disposed of. */
async function holdXmin(pool: Pool): Promise<AsyncDisposable> {
  const client = await pool.connect();
  await client.query("begin isolation level repeatable read");
  await client.query("select pg_current_xact_id()");
  return {
    async [Symbol.asyncDispose]() {
      // Given back as broken: the connection ends, and with it the transaction.
      client.release(true);
      await Promise.resolve();
    },
  };
}

/** 1,000 events a second on each side, written and relayed. */
async function writeOnBoth({ options }: BenchContext, pair: Pair): Promise<void> {
  const services = [pair.plain, pair.burdened].map(({ pool }) =>
    relayingService(pool, createNullSink()),
  );
  try {
    for (const service of services) await service.start();
    const commits = services.map((service) => dureTransaction(service));
    await pace({ perSecond, seconds: options.holdSeconds }, async () => {
      await Promise.all(commits.map((commit) => commit()));
    });
  } finally {
    for (const service of services) await service.stop();
  }
}
