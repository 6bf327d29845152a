import type {
  OutboxPositions,
  OutboxStore,
  ReadRequest,
  ShardCursor,
  StoredMessage,
} from "./outbox-store.ts";
import type { Range } from "./shard-progress.ts";

/** What a {@link FedOutbox} is made of. */
export interface FedOutboxParts {
  /** Everything but what the feed brings. */
  readonly store: OutboxStore;
  /** Where the log ends now: whatever was committed before the call stands before it. */
  readonly logEnd: () => Promise<bigint>;
  /** How far the feed has come when it is there, or after a short while where it was. */
  readonly reach: (position: bigint) => Promise<bigint>;
  /** Something was recorded: more may be acknowledged, and there is room. */
  readonly onSettled: () => void;
}

/** A committed transaction of which the feed told, and how many of its events are not recorded yet. */
interface FedTransaction {
  end: bigint | undefined;
  open: number;
}

interface FedEntry {
  readonly stored: StoredMessage;
  readonly transaction: FedTransaction;
}

/** Stands among a shard's writers while the feed has not come as far as they may have. */
const feedItself = "feed";

/**
 * The outbox as a feed of committed events shows it. Reading takes from what the feed has brought; positions,
 * writers, cursors, parking and recording are those of the store beneath, so that every law of the relay (order
 * by the key's lock, gaps by the lock's holders, progress in the cursor) holds here as it does there.
 *
 * What the feed brought is kept until it is recorded, and only then may the log be let go up to there: if the
 * process dies, the feed begins again at what was acknowledged last, and what the cursor has is passed over.
 *
 * Of a shard that was just taken over the table is read as well, until what was there then is done: what was
 * committed before the feed began does not come by it.
 */
export class FedOutbox {
  readonly store: OutboxStore;
  readonly #parts: FedOutboxParts;
  readonly #entries: Map<number, FedEntry[]> = new Map();
  /** In the order of their commits; the first is one that is not wholly recorded. */
  readonly #transactions: FedTransaction[] = [];
  /** Up to here the table is read too, per shard. */
  readonly #tableTo: Map<number, number> = new Map();
  /** The shards that are ours or about to be; unknown before the first heartbeat. */
  #claimed: ReadonlySet<number> | undefined;
  #arriving: FedTransaction | undefined;
  #received = 0n;
  #acknowledged = 0n;
  #size = 0;
  #positions: OutboxPositions | undefined;
  /** Who was said to hold a shard's lock while the feed was behind. */
  #blind: Map<number, Set<string>> = new Map();

  constructor(parts: FedOutboxParts) {
    this.#parts = parts;
    this.store = { ...parts.store, ...this.#readFromFeed(), ...this.#recordToStore() };
  }

  /** Everything that was committed before this has come. */
  get received(): bigint {
    return this.#received;
  }

  /** Everything before this is recorded: the log may be let go up to here. */
  get acknowledged(): bigint {
    return this.#acknowledged;
  }

  /** Events that have come and are not recorded. */
  get size(): number {
    return this.#size;
  }

  /** The feed begins to tell of a transaction; all of it has committed. */
  begin(): void {
    this.#arriving = { end: undefined, open: 0 };
    this.#transactions.push(this.#arriving);
  }

  /** An event of the transaction that is being told. */
  add(stored: StoredMessage): void {
    const transaction = this.#arriving;
    if (transaction === undefined || this.#isForeign(stored.shard)) return;
    const entries = this.#entries.get(stored.shard) ?? [];
    if (entries.length === 0) this.#entries.set(stored.shard, entries);
    entries.push({ stored, transaction });
    transaction.open += 1;
    this.#size += 1;
  }

  /** The transaction has been told, up to this place in the log. */
  end(end: bigint): void {
    if (this.#arriving !== undefined) this.#arriving.end = end;
    this.#arriving = undefined;
    this.#reached(end);
  }

  /** The feed has nothing more to tell up to this place. */
  idle(position: bigint): void {
    if (this.#arriving === undefined) this.#reached(position);
  }

  #reached(position: bigint): void {
    if (position > this.#received) this.#received = position;
    this.#letGo();
  }

  #letGo(): void {
    let first = this.#transactions[0];
    while (first?.end !== undefined && first.open === 0) {
      if (first.end > this.#acknowledged) this.#acknowledged = first.end;
      this.#transactions.shift();
      first = this.#transactions[0];
    }
    if (first === undefined) this.#acknowledged = this.#received;
  }

  /** Another relay sees to it, from the table. Where events stand in the log alone there is no other. */
  #isForeign(shard: number): boolean {
    if (this.#positions?.needsFeed !== false) return false;
    return this.#claimed !== undefined && !this.#claimed.has(shard);
  }

  #readFromFeed(): Pick<OutboxStore, "positions" | "writers" | "cursors" | "read"> {
    const { store } = this.#parts;
    return {
      positions: () => this.#look(),
      writers: (shards) => this.#writers(shards),
      cursors: async (shards) => {
        const cursors = await store.cursors(shards);
        const { last } = await this.#look();
        for (const cursor of cursors) {
          this.#tableTo.set(cursor.shard, last[cursor.shard] ?? 0);
          this.#settle(cursor);
        }
        return cursors;
      },
      read: (requests, limit) => this.#read(requests, limit),
    };
  }

  async #look(): Promise<OutboxPositions> {
    this.#positions = await this.#parts.store.positions();
    return this.#positions;
  }

  /**
   * A writer whose lock is gone has committed, and what it committed may still be on its way here. Until the feed
   * has come as far as the log reached after the locks were read, nobody who was there is said to have gone.
   */
  async #writers(shards: readonly number[]): Promise<ReadonlyMap<number, ReadonlySet<string>>> {
    const { store, logEnd, reach } = this.#parts;
    const held = await store.writers(shards);
    const end = await logEnd();
    if ((await reach(end)) >= end) {
      this.#blind.clear();
      return held;
    }
    for (const shard of shards) {
      const before = this.#blind.get(shard) ?? new Set([feedItself]);
      this.#blind.set(shard, before.union(held.get(shard) ?? new Set()));
    }
    return new Map(this.#blind);
  }

  async #read(requests: readonly ReadRequest[], limit: number): Promise<readonly StoredMessage[]> {
    const behind = requests.filter(
      (request) => lowOf(request) < (this.#tableTo.get(request.shard) ?? 0),
    );
    // Before the table is read: of what has come by now, everything before it in its key is visible there. What comes
    // during the read may follow an event that the table does not show yet.
    const brought = requests.map(({ shard }) => {
      const entries = this.#entries.get(shard) ?? [];
      return behind.length === 0 ? entries : [...entries];
    });
    const rows = behind.length === 0 ? [] : await this.#parts.store.read(behind, limit);
    const byShard = Map.groupBy(rows, ({ shard }) => shard);
    return requests.flatMap((request, index) =>
      this.#readShard(request, {
        rows: byShard.get(request.shard) ?? [],
        brought: brought[index] ?? [],
        limit,
      }),
    );
  }

  #readShard(
    request: ReadRequest,
    {
      rows,
      brought,
      limit,
    }: {
      readonly rows: readonly StoredMessage[];
      readonly brought: readonly FedEntry[];
      readonly limit: number;
    },
  ): readonly StoredMessage[] {
    // Where the rows were cut, more of them follow: what the feed has beyond must wait for those.
    const cut = rows.length >= limit ? rows.at(-1)?.position : undefined;
    const found = new Map<number, StoredMessage>(rows.map((row) => [row.position, row]));
    const incarnation = this.#positions?.incarnation;
    for (const { stored } of brought) {
      const { position } = stored;
      if (found.has(position) || !isWanted(request, position)) continue;
      if (this.#isReadFromTable(request.shard, position)) continue;
      if (cut !== undefined && position > cut) continue;
      found.set(position, { ...stored, message: { ...stored.message, incarnation } });
    }
    return [...found.values()]
      .sort((left, right) => left.position - right.position)
      .slice(0, limit);
  }

  /**
   * Then the feed's word for it does not count: a repair may have given the event another position, which the log
   * does not tell, and under its old one it would overtake what the repair put before it.
   */
  #isReadFromTable(shard: number, position: number): boolean {
    if (this.#positions?.needsFeed !== false) return false;
    return position <= (this.#tableTo.get(shard) ?? 0);
  }

  #recordToStore(): Pick<OutboxStore, "heartbeat" | "advance"> {
    const { store, onSettled } = this.#parts;
    return {
      heartbeat: async (member) => {
        const claims = await store.heartbeat(member);
        this.#claimed = new Set(claims?.map(({ shard }) => shard));
        this.#dropForeign();
        return claims;
      },
      advance: async (member, advances, settlement) => {
        const fenced = await store.advance(member, advances, settlement);
        for (const advance of advances) {
          if (!fenced.includes(advance.shard)) this.#settle(advance);
        }
        onSettled();
        return fenced;
      },
    };
  }

  /** What the cursor has is done for good. */
  #settle({ shard, low, done }: ShardCursor): void {
    this.#remove(shard, ({ stored }) => stored.position <= low || isIn(done, stored.position));
  }

  #dropForeign(): void {
    for (const shard of this.#entries.keys()) {
      if (this.#isForeign(shard)) this.#remove(shard, () => true);
    }
  }

  #remove(shard: number, isDone: (entry: FedEntry) => boolean): void {
    const entries = this.#entries.get(shard);
    if (entries === undefined || entries.length === 0) return;
    const kept: FedEntry[] = [];
    for (const entry of entries) {
      if (isDone(entry)) entry.transaction.open -= 1;
      else kept.push(entry);
    }
    this.#size -= entries.length - kept.length;
    this.#entries.set(shard, kept);
    this.#letGo();
  }
}

/** Everything up to here is done. */
function lowOf({ gaps, head }: ReadRequest): number {
  const [first] = gaps;
  return first === undefined ? head : first.from - 1;
}

function isWanted({ gaps, head }: ReadRequest, position: number): boolean {
  return position > head || isIn(gaps, position);
}

/** `ranges` ascend. */
function isIn(ranges: readonly Range[], position: number): boolean {
  let low = 0;
  let high = ranges.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const range = ranges[middle];
    if (range === undefined) return false;
    if (position < range.from) high = middle - 1;
    else if (position > range.to) low = middle + 1;
    else return true;
  }
  return false;
}
