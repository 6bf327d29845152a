import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { StoredMessage } from "../outbox/outbox-store.ts";
import { messageFromRow } from "./message-row.ts";

/** What is used of a `pg` client made with `replication: "database"`. */
export interface ReplicationClient {
  connect(): Promise<unknown>;
  end(): Promise<unknown>;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** What is used of the `PgoutputPlugin` of the package `pg-logical-replication`. */
export interface PgoutputDecoder {
  parse(message: Buffer): unknown;
  start(client: never, slot: string, position: string): Promise<unknown>;
}

/** What a {@link PgoutputDecoder} must be made with. */
export interface PgoutputOptions {
  readonly protoVersion: 1;
  readonly publicationNames: string[];
  readonly messages: true;
}

/** What is told of the log. */
export interface WalListener {
  begin(): void;
  event(stored: StoredMessage): void;
  commit(end: bigint): void;
  idle(position: bigint): void;
}

/** The part of a `pg` client's connection by which the stream is read; `pg` declares it in part only. */
interface CopyBothConnection {
  on(event: "copyData", listener: (message: { readonly chunk: Buffer }) => void): unknown;
  on(event: "replicationStart", listener: () => void): unknown;
  sendCopyFromChunk(chunk: Buffer): void;
  readonly stream: { pause(): void; resume(): void };
}

/** What the decoder makes of the messages that matter here. */
interface Decoded {
  readonly tag?: unknown;
  readonly new?: Readonly<Record<string, unknown>>;
  readonly transactional?: unknown;
  readonly prefix?: unknown;
  readonly content?: Uint8Array;
  readonly commitEndLsn?: unknown;
}

const openMsMax = 30_000;

/**
 * One reading of a replication slot: tells what was committed, in the order of the commits, and never sends
 * on its own that anything was taken.
 */
export class WalStream {
  /** Rejects when the stream has ended, with why. */
  readonly ended: Promise<never>;
  readonly #client: ReplicationClient;
  readonly #clock: Clock;
  readonly #connection: CopyBothConnection;
  readonly #end: (error: unknown) => void;
  #isPaused = false;
  #isOpen = true;

  private constructor(client: ReplicationClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
    this.#connection = connectionOf(client);
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.ended = promise;
    this.#end = (error) => {
      this.#isOpen = false;
      reject(error);
    };
  }

  /**
   * Connects and begins to read, from what was acknowledged last; the first may be told before this resolves.
   * @throws what the server says: 55006 when somebody else reads the slot
   */
  static async open(parts: {
    readonly client: ReplicationClient;
    readonly decoder: PgoutputDecoder;
    readonly slot: string;
    readonly listener: WalListener;
    readonly clock: Clock;
  }): Promise<WalStream> {
    const { client, decoder, slot, listener, clock } = parts;
    const stream = new WalStream(client, clock);
    client.on("error", stream.#end);
    const timer = setTimeout(() => {
      stream.#end(new Error(`no replication within ${openMsMax} ms`));
    }, openMsMax);
    try {
      await Promise.race([client.connect(), stream.ended]);
      const begun = new Promise<void>((resolve) => {
        stream.#connection.on("replicationStart", resolve);
      });
      stream.#listen(decoder, slot, listener);
      // Resolves only when the stream has ended. From where it was acknowledged: the server knows.
      const reading = decoder.start(client as never, slot, "0/0");
      reading.then(
        () => stream.#end(new Error("the server ended the replication")),
        (error: unknown) => stream.#end(error),
      );
      await Promise.race([begun, stream.ended]);
      return stream;
    } catch (error) {
      await stream.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #listen(decoder: PgoutputDecoder, slot: string, listener: WalListener): void {
    this.#connection.on("copyData", ({ chunk }) => {
      if (!this.#isOpen) return;
      try {
        // w: a piece of the log, behind three numbers; k: how far the server has read it.
        if (chunk[0] === 0x77) tell(decoder.parse(chunk.subarray(25)) as Decoded, slot, listener);
        else if (chunk[0] === 0x6b) listener.idle(chunk.readBigUInt64BE(1));
      } catch (error) {
        this.#end(error);
      }
    });
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Takes nothing more from the network; what has arrived is told still. */
  pause(): void {
    this.#isPaused = true;
    this.#connection.stream.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#connection.stream.resume();
  }

  /**
   * Tells the server that the log before this is not needed any more, and that we live. Exact: one byte more
   * would let a transaction go whose commit record begins just there.
   */
  acknowledge(position: bigint, options?: { readonly isAsking?: boolean }): void {
    if (!this.#isOpen) return;
    const status = Buffer.alloc(34);
    status.write("r", 0, "latin1");
    for (const offset of [1, 9, 17]) status.writeBigUInt64BE(position, offset);
    // Microseconds since 2000-01-01, for the server's views.
    status.writeBigInt64BE(BigInt(this.#clock.now() - 946_684_800_000) * 1_000n, 25);
    status[33] = options?.isAsking === true ? 1 : 0;
    this.#connection.sendCopyFromChunk(status);
  }

  /** Ends the connection; the slot is free for others then. */
  async close(): Promise<void> {
    this.#end(new Error("closed"));
    this.#connection.stream.resume();
    await this.#client.end().catch(() => undefined);
  }
}

function tell(message: Decoded, slot: string, listener: WalListener): void {
  switch (message.tag) {
    case "begin":
      return listener.begin();
    case "insert":
      // The publication has one table, and its partitions speak in its name.
      return listener.event(storedFromRow(message.new ?? {}));
    case "message": {
      if (message.transactional !== true || message.prefix !== slot) return;
      const text = Buffer.from(message.content ?? []).toString("utf8");
      return listener.event(storedFromRow(JSON.parse(text) as Record<string, unknown>));
    }
    case "commit":
      return listener.commit(logPosition(String(message.commitEndLsn)));
  }
}

function storedFromRow(row: Readonly<Record<string, unknown>>): StoredMessage {
  return {
    shard: Number(row["shard"]),
    position: Number(row["position"]),
    message: messageFromRow(row),
  };
}

/** A place in the log from the server's text for it, as `16/B374D848`. */
export function logPosition(text: string): bigint {
  const [high = "0", low = "0"] = text.split("/");
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}

function connectionOf(client: ReplicationClient): CopyBothConnection {
  const { connection } = client as { readonly connection?: CopyBothConnection };
  if (typeof connection?.sendCopyFromChunk === "function") return connection;
  throw new DureError(
    "CONFIGURATION_INVALID",
    'postgresStore: wal.connect must make a client of the package "pg": new pg.Client({ …, replication: "database" })',
  );
}
