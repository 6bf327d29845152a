import type { ClaimsSql } from "./claims-sql.ts";
import { queryWithin } from "./pool.ts";
import type { PostgresPool } from "./pool.ts";

/** A slot that a member holds. */
export interface Claim {
  readonly slot: number;
  readonly epoch: number;
  readonly isSurplus: boolean;
}

/** Slots shared by live members under leases: outbox shards, log partitions. */
export interface Claims {
  /** Undefined: the member's lease had run out. */
  heartbeat(member: {
    readonly scope: string;
    readonly id: string;
    readonly leaseMs: number;
    readonly slots: number;
    readonly isJoining: boolean;
  }): Promise<readonly Claim[] | undefined>;
  release(member: {
    readonly scope: string;
    readonly id: string;
    readonly slots: readonly number[];
    readonly isLeaving: boolean;
  }): Promise<void>;
}

/** Claims in the tables of `0001_claim.sql`. */
export function postgresClaims(pool: PostgresPool, sql: ClaimsSql): Claims {
  return {
    async heartbeat({ scope, id, leaseMs, slots, isJoining }) {
      const params = [scope, id, leaseMs, slots, isJoining];
      // An answer that comes after the lease is no answer.
      const { rows } = await queryWithin(pool, sql.heartbeat, params, { msMax: leaseMs });
      if (rows.length === 0) return undefined;
      return rows
        .map((row) => ({
          slot: Number(row["slot"]),
          epoch: Number(row["epoch"]),
          isSurplus: row["surplus"] === true,
        }))
        .filter((claim) => claim.slot >= 0);
    },
    async release({ scope, id, slots, isLeaving }) {
      await pool.query(sql.release, [scope, id, slots, isLeaving]);
    },
  };
}
