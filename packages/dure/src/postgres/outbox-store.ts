import { DureError } from "../core/errors.ts";
import { keyOf } from "../core/message.ts";
import type { Statement, TransactionHandle } from "../core/transaction.ts";
import type {
  FoundCursor,
  OutboxPositions,
  OutboxStore,
  PreparedEvent,
  ReadRequest,
  RecordingMember,
  Settlement,
  ShardAdvance,
  StoredMessage,
} from "../outbox/outbox-store.ts";
import type { Range } from "../outbox/shard-progress.ts";
import { postgresClaims } from "./claims.ts";
import { claimsSql } from "./claims-sql.ts";
import { messageFromRow } from "./message-row.ts";
import { outboxSql } from "./outbox-sql.ts";
import type { OutboxSql } from "./outbox-sql.ts";
import { dueFromRow, parkedMessageJson, storableJson } from "./parking-store.ts";
import type { PostgresPool } from "./pool.ts";
import { translateSqlError } from "./sqlstate.ts";

/** The claims' scope of the outbox's shards. */
const scope = "outbox";
/** Cursor rows that may gather before the old ones go. */
const advancesPerPrune = 2_000;

/** What {@link postgresOutboxStore} may be told. */
export interface OutboxStoreOptions {
  /** Events are written into the log alone. */
  readonly isTableless?: boolean;
  /** Whoever relays from it has a feed besides. */
  readonly isFed?: boolean;
}

/** The outbox in the tables of `0002_outbox.sql`. `schema` is quoted. */
export function postgresOutboxStore(
  pool: PostgresPool,
  schema: string,
  { isTableless = false, isFed = false }: OutboxStoreOptions = {},
): OutboxStore {
  const sql = outboxSql(schema);
  const statement = isTableless ? emitStatement : appendStatement;
  return {
    append: (tx, source, events) => append(tx, sql, statement(sql, source, events)),
    appendStatement: (source, events) => inTransaction(statement(sql, source, events), true),
    ...membership(pool, schema, { sql, isFed }),
    async cursors(shards) {
      const { rows } = await pool.query(sql.cursors, [shards]);
      return rows.map(cursorFromRow);
    },
    async writers(shards) {
      const { rows } = await pool.query(sql.writers, [shards]);
      return writersFromRows(rows);
    },
    async read(requests, limit) {
      const { rows } = await pool.query(sql.read, [...readColumns(requests), limit]);
      return rows.map(storedFromRow);
    },
    advance: createAdvance(pool, sql),
    async mark(incarnation, watermarks) {
      const columns = [watermarks.map(({ place }) => place), watermarks.map(({ mark }) => mark)];
      await pool.query(sql.mark, [incarnation, ...columns]);
    },
    async watermarks(incarnation) {
      const { rows } = await pool.query(sql.watermarks, [incarnation]);
      return rows.map((row) => ({ place: String(row["place"]), mark: String(row["mark"]) }));
    },
    ...parkedEvents(pool, sql),
  };
}

/** Who relays, and how the outbox as a whole stands. */
function membership(
  pool: PostgresPool,
  schema: string,
  { sql, isFed }: { readonly sql: OutboxSql; readonly isFed: boolean },
): Pick<OutboxStore, "positions" | "heartbeat" | "release"> {
  const claims = postgresClaims(pool, claimsSql(schema));
  let shardCount: number | undefined;
  let needsFeed = false;

  async function positions(): Promise<OutboxPositions> {
    const { rows } = await pool.query(sql.positions);
    shardCount = rows.length;
    needsFeed = rows[0]?.["tableless"] !== "off";
    if (!isFed) assertNoFeed(needsFeed);
    return {
      last: rows.map((row) => Number(row["last"])),
      incarnation: Number(rows[0]?.["incarnation"]),
      isPaused: rows[0]?.["is_paused"] === true,
      needsFeed,
    };
  }

  return {
    positions,
    async heartbeat({ id, leaseMs, isJoining }) {
      // Before each life, and in each once it is known: such a relay must not hold shards.
      if (shardCount === undefined || isJoining) shardCount = (await positions()).last.length;
      if (!isFed) assertNoFeed(needsFeed);
      const held = await claims.heartbeat({ scope, id, leaseMs, slots: shardCount, isJoining });
      return held?.map(({ slot, epoch, isSurplus }) => ({ shard: slot, epoch, isSurplus }));
    },
    release: ({ id, shards, isLeaving }) => claims.release({ scope, id, slots: shards, isLeaving }),
  };
}

function createAdvance(pool: PostgresPool, sql: OutboxSql): OutboxStore["advance"] {
  let advances = 0;
  return async (member, moved, settlement) => {
    const { rows } = await pool.query(sql.advance, [
      scope,
      ...memberColumns(member),
      ...advanceColumns(moved),
      ...settlementColumns(settlement),
    ]);
    advances += moved.length;
    if (advances >= advancesPerPrune) {
      advances = 0;
      await pool.query(sql.prune);
    }
    return (rows[0]?.["fenced"] ?? []) as readonly number[];
  };
}

/** What the relay asks of the events that are parked. */
function parkedEvents(
  pool: PostgresPool,
  sql: OutboxSql,
): Pick<OutboxStore, "parkedKeys" | "parkedAmong" | "due"> {
  return {
    async parkedKeys(source, limit) {
      const { rows } = await pool.query(sql.parkedKeys, [source, limit]);
      return new Set(rows.map((row) => String(row["key"])));
    },
    async parkedAmong(source, messages) {
      const keys = [...new Map(messages.map((message) => [keyOf(message), message])).values()];
      const topics = keys.map((message) => message.topic);
      const { rows } = await pool.query(sql.parkedAmong, [
        source,
        topics,
        keys.map(({ key }) => key),
      ]);
      return new Set(rows.map((row) => String(row["key"])));
    },
    async due({ source, shards, closedTopics, probedTopics, limit }) {
      const { rows } = await pool.query(sql.due, [
        source,
        shards,
        closedTopics,
        probedTopics,
        limit,
      ]);
      return rows.map(dueFromRow);
    },
  };
}

/** Writes the events at once where it is certain that a transaction is open, and proves it first where it is not. */
async function append(tx: TransactionHandle, sql: OutboxSql, statement: Statement): Promise<void> {
  try {
    const unproven = inTransaction(statement, false);
    const { rows } = await tx.query(unproven.text, unproven.params);
    if (Number(rows[0]?.["appended"]) >= 0) return;
    await tx.query(sql.assertTransaction);
    const proven = inTransaction(statement, true);
    await tx.query(proven.text, proven.params);
  } catch (error) {
    throw translateSqlError(error);
  }
}

/** Without its last parameter, which says whether a transaction is known to be open. */
function appendStatement(
  sql: OutboxSql,
  source: string,
  events: readonly PreparedEvent[],
): Statement {
  const [event] = events;
  if (event === undefined || events.length > 1) {
    return { text: sql.append, params: [source, JSON.stringify(events)] };
  }
  const { id, topic, key, type, version, data, context } = event;
  const contextJson = context === undefined ? null : JSON.stringify(context);
  return {
    text: sql.appendOne,
    params: [source, id, topic, key, type, version, data, contextJson],
  };
}

function emitStatement(
  sql: OutboxSql,
  source: string,
  events: readonly PreparedEvent[],
): Statement {
  return { text: sql.emit, params: [source, JSON.stringify(events)] };
}

/** To a relay that looks into the table, an event that stands in the log alone was rolled back. */
function assertNoFeed(needsFeed: boolean): void {
  if (!needsFeed) return;
  throw new DureError(
    "RELAY_NEEDS_WAL",
    "events of this outbox may stand in the write-ahead log alone, and this process relays from the table: give postgresStore its wal option, or set relay: false here",
  );
}

function inTransaction({ text, params }: Statement, isKnown: boolean): Statement {
  return { text, params: [...params, isKnown] };
}

type Row = Readonly<Record<string, unknown>>;

function cursorFromRow(row: Row): FoundCursor {
  return {
    shard: Number(row["shard"]),
    n: Number(row["n"]),
    low: Number(row["low"]),
    done: parseMultirange(String(row["done"])),
    isSetBack: row["is_set_back"] === true,
  };
}

function storedFromRow(row: Row): StoredMessage {
  return {
    shard: Number(row["shard"]),
    position: Number(row["position"]),
    message: messageFromRow(row),
  };
}

function writersFromRows(rows: readonly Row[]): ReadonlyMap<number, ReadonlySet<string>> {
  const writers = new Map<number, Set<string>>();
  for (const row of rows) {
    const shard = Number(row["shard"]);
    const held = writers.get(shard) ?? new Set();
    writers.set(shard, held.add(String(row["writer"])));
  }
  return writers;
}

function readColumns(requests: readonly ReadRequest[]): readonly unknown[] {
  const gaps = requests.flatMap(({ shard, gaps: ranges }) =>
    ranges.map((range) => ({ shard, ...range })),
  );
  return [
    requests.map((request) => request.shard),
    requests.map((request) => request.head),
    gaps.map((gap) => gap.shard),
    gaps.map((gap) => gap.from),
    gaps.map((gap) => gap.to),
  ];
}

function advanceColumns(moved: readonly ShardAdvance[]): readonly unknown[] {
  return [
    moved.map((advance) => advance.shard),
    moved.map((advance) => advance.n),
    moved.map((advance) => advance.low),
    moved.map((advance) => multirangeText(advance.done)),
  ];
}

function memberColumns({ id, source, shards }: RecordingMember): readonly unknown[] {
  return [id, source, shards.map(({ shard }) => shard), shards.map(({ epoch }) => epoch)];
}

function settlementColumns({ parked, resolved, failed }: Settlement): readonly unknown[] {
  return [
    parked.length === 0 ? null : storableJson(parked.map(parkedMessageJson)),
    resolved.length === 0 ? null : resolved,
    failed.length === 0 ? null : storableJson(failed),
  ];
}

function multirangeText(ranges: readonly Range[]): string {
  return `{${ranges.map((range) => `[${range.from},${range.to + 1})`).join(",")}}`;
}

/** PostgreSQL prints a multirange of int8 in its canonical form: `{[1,4),[7,9)}`. */
function parseMultirange(text: string): readonly Range[] {
  return [...text.matchAll(/\[(\d+),(\d+)\)/g)].map((match) => ({
    from: Number(match[1]),
    to: Number(match[2]) - 1,
  }));
}
