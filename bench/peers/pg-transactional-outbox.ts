import { randomUUID } from "node:crypto";
import type { Pool, PoolClient } from "pg";
import type { MeasuredData } from "../service.ts";
import { importPeer } from "./import-peer.ts";

interface StoredMessage {
  readonly id: string;
  readonly aggregateType: string;
  readonly aggregateId: string;
  readonly messageType: string;
  readonly segment: undefined;
  readonly concurrency: "parallel";
  readonly payload: MeasuredData;
  readonly createdAt: string;
}
interface TransactionalOutbox {
  readonly DatabaseSetupExporter: {
    createPollingScript(setup: Readonly<Record<string, string>>, skipRoles: boolean): string;
  };
  getDisabledLogger(): object;
  initializeMessageStorage(
    config: { outboxOrInbox: "outbox"; settings: { dbSchema: string; dbTable: string } },
    logger: object,
  ): (message: StoredMessage, client: PoolClient) => Promise<void>;
}

/** pg-transactional-outbox in the given database, for writing. */
export interface TransactionalOutboxPeer {
  /** Stores a message in the transaction that is open on the client. */
  store(client: PoolClient, data: MeasuredData): Promise<void>;
  empty(): Promise<void>;
}

/** Installs its polling table, `public.outbox`. */
export async function openTransactionalOutbox(
  pool: Pool,
  database: string,
): Promise<TransactionalOutboxPeer> {
  // A CommonJS package, by its shape: what of it is used here.
  const { default: library } = (await importPeer("pg-transactional-outbox")) as {
    readonly default: TransactionalOutbox;
  };
  const script = library.DatabaseSetupExporter.createPollingScript(
    {
      outboxOrInbox: "outbox",
      database,
      schema: "public",
      table: "outbox",
      listenerRole: "postgres",
      handlerRole: "postgres",
      nextMessagesName: "next_outbox_messages",
      nextMessagesSchema: "public",
    },
    true,
  );
  await pool.query(script);
  const store = library.initializeMessageStorage(
    { outboxOrInbox: "outbox", settings: { dbSchema: "public", dbTable: "outbox" } },
    library.getDisabledLogger(),
  );
  return {
    store: (client, data) =>
      store(
        {
          id: randomUUID(),
          aggregateType: "bench",
          aggregateId: data.id,
          messageType: "measured",
          segment: undefined,
          concurrency: "parallel",
          payload: data,
          createdAt: new Date().toISOString(),
        },
        client,
      ),
    async empty() {
      await pool.query("truncate public.outbox");
    },
  };
}
