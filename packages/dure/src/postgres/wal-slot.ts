import { DureError, describeError } from "../core/errors.ts";
import type { PostgresPool } from "./pool.ts";
import { sqlStateOf, translateSqlError } from "./sqlstate.ts";
import type { WalSql } from "./wal-sql.ts";

/** What the server and the outbox say of the feed. */
export interface WalSettings {
  readonly slot: string;
  readonly publication: string;
  /** Whether events may stand in the log alone; `lost`: they could, and no log is kept for them. */
  readonly tableless: "off" | "on" | "lost";
}

/** How the slot stands. */
export interface WalSlotState {
  readonly isRead: boolean;
  /** `lost`: the server has dropped log that was not read. */
  readonly walStatus: string;
  readonly lagBytes: number;
}

/** The replication slot of an outbox, and what goes with it on the server. */
export interface WalSlot {
  /** @throws WAL_UNAVAILABLE when the server writes too little into its log */
  settings(): Promise<WalSettings>;
  /** Undefined: there is none. */
  state(): Promise<WalSlotState | undefined>;
  /** Twice is once. @throws WAL_UNAVAILABLE */
  publish(): Promise<void>;
  /** Two may try at a time. @throws WAL_UNAVAILABLE */
  create(): Promise<void>;
  /** Unless somebody reads it. */
  drop(): Promise<void>;
  /** Ends the session that reads it. */
  endReader(): Promise<void>;
  /** @throws RELAY_NEEDS_WAL while relays live that look into the table */
  setTableless(state: "on" | "lost"): Promise<void>;
}

/** The slot by statements over the pool. */
export function walSlot(pool: PostgresPool, sql: WalSql): WalSlot {
  const ask = async (text: string, params?: readonly unknown[]): Promise<readonly Row[]> => {
    try {
      return (await pool.query(text, params)).rows;
    } catch (error) {
      // insufficient_privilege; and what says that the server is not set up for replication.
      if (!["42501", "55000", "53400"].includes(sqlStateOf(error) ?? "")) {
        throw translateSqlError(error);
      }
      throw unavailable(describeError(error), error);
    }
  };
  return {
    async settings() {
      const [row = {}] = await ask(sql.settings);
      const level = String(row["wal_level"]);
      if (level !== "logical") throw unavailable(`the server's wal_level is "${level}"`);
      return {
        slot: String(row["slot"]),
        publication: String(row["publication"]),
        tableless: row["tableless"] as WalSettings["tableless"],
      };
    },
    async state() {
      const [row] = await ask(sql.slot);
      if (row === undefined) return undefined;
      return {
        isRead: row["active_pid"] !== null,
        walStatus: String(row["wal_status"]),
        lagBytes: Number(row["lag_bytes"] ?? 0),
      };
    },
    publish: async () => void (await ask(sql.publish)),
    async create() {
      await ask(sql.createSlot).catch((error: unknown) => {
        if (sqlStateOf(error) !== "42710") throw error; // duplicate_object
      });
    },
    drop: async () => void (await ask(sql.dropSlot)),
    endReader: async () => void (await ask(sql.endReader)),
    setTableless: async (state) => void (await ask(sql.setTableless, [state])),
  };
}

type Row = Readonly<Record<string, unknown>>;

function unavailable(what: string, cause?: unknown): DureError {
  return new DureError(
    "WAL_UNAVAILABLE",
    `${what}: relaying by the log needs wal_level = logical (in the server's configuration, with a restart), a free place below max_replication_slots, and a role with the attribute replication that owns the library's tables and may create in the database. Without them leave out postgresStore({ wal })`,
    { cause },
  );
}
