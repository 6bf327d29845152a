import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";
import { waitFor } from "../support/wait-for.ts";
import type { RelayedOutbox } from "./outbox-design.ts";

const claim = `update leased_batches set claimed_until = clock_timestamp() + interval '300 ms'
  where id in (
    select id from leased_batches
    where not is_sent and coalesce(claimed_until, '-infinity') < clock_timestamp()
    order by id limit 5 for update skip locked
  ) returning id, key, n`;

/**
 * Batches claimed for a while, as queues with a visibility timeout do, and sent by whoever claimed them without
 * another look at the clock. The belief in a claim that has run out is the mistake of
 * https://github.com/JasperFx/wolverine/issues/2602 and of the workers in
 * https://github.com/OptimalBits/bull/issues/1416.
 *
 * It breaks law O2 (d): a relay that was frozen past its claim thaws and sends old events behind newer ones.
 */
export async function leasedBatchesOutbox(pool: pg.Pool): Promise<RelayedOutbox> {
  await pool.query(`create table leased_batches (
    id bigint generated always as identity, is_sent boolean default false, claimed_until timestamptz, key text, n int
  )`);
  const sent: Step[] = [];
  const relay = async (beforeSend: () => Promise<void>): Promise<void> => {
    const { rows } = await pool.query<Step & { id: string }>(claim);
    rows.sort((left, right) => Number(left.id) - Number(right.id));
    if (rows.length > 0) await beforeSend();
    sent.push(...rows.map(({ key, n }) => ({ key, n })));
    const ids = rows.map(({ id }) => id);
    await pool.query("update leased_batches set is_sent = true where id = any ($1)", [ids]);
  };
  const look = (): Promise<void> => relay(() => Promise.resolve());
  return {
    async write(client, events) {
      for (const { key, n } of events) {
        await client.query("insert into leased_batches (key, n) values ($1, $2)", [key, n]);
      }
    },
    sent: () => Promise.resolve(sent),
    startHeldRelay() {
      const holding = Promise.withResolvers<void>();
      const go = Promise.withResolvers<void>();
      const done = relay(() => {
        holding.resolve();
        return go.promise;
      });
      return Promise.resolve({
        isHolding: holding.promise,
        async release() {
          go.resolve();
          await done;
        },
      });
    },
    startFreeRelay: () =>
      Promise.resolve({
        look,
        async drain() {
          await waitFor(
            async () => {
              await look();
              const { rowCount } = await pool.query(
                "select from leased_batches where not is_sent limit 1",
              );
              return rowCount === 0;
            },
            { what: "the end of the frozen relay's claim" },
          );
        },
      }),
  };
}
