import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";
import type { RelayedOutbox } from "./outbox-design.ts";

const batch = `select id, key, n from skip_locked where not is_sent
  order by id limit 5 for update skip locked`;

/**
 * Batches of unsent rows `for update skip locked`, sent inside the transaction that locks them:
 * https://github.com/AlexeyRaga/kafkaflow-contrib/issues/24 and
 * https://github.com/aws-samples/transactional-outbox-pattern/issues/6.
 *
 * It breaks law O2 (d): while one relay has events 1 to 5 of a key in flight, another takes 6 to 10 and is first.
 */
export async function skipLockedOutbox(pool: pg.Pool): Promise<RelayedOutbox> {
  await pool.query(
    "create table skip_locked (id bigint generated always as identity, is_sent boolean default false, key text, n int)",
  );
  const sent: Step[] = [];
  /** One batch; resolves to whether there was one. */
  const relay = async (beforeSend: () => Promise<void>): Promise<boolean> => {
    const client = await pool.connect();
    try {
      await client.query("begin");
      const { rows } = await client.query<Step & { id: string }>(batch);
      if (rows.length > 0) await beforeSend();
      sent.push(...rows.map(({ key, n }) => ({ key, n })));
      const ids = rows.map(({ id }) => id);
      await client.query("update skip_locked set is_sent = true where id = any ($1)", [ids]);
      await client.query("commit");
      return rows.length > 0;
    } finally {
      client.release();
    }
  };
  const drain = async (): Promise<void> => {
    while (await relay(() => Promise.resolve()));
  };
  return {
    async write(client, events) {
      for (const { key, n } of events) {
        await client.query("insert into skip_locked (key, n) values ($1, $2)", [key, n]);
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
    startFreeRelay: () => Promise.resolve({ look: drain, drain }),
  };
}
