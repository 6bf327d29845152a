import { DureError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";

/** The SQLSTATE of an error that a PostgreSQL driver threw, if it is one. */
export function sqlStateOf(error: unknown): string | undefined {
  for (let cause = error, depth = 0; depth < 4; depth += 1) {
    if (typeof cause !== "object" || cause === null) return undefined;
    const code = (cause as { readonly code?: unknown }).code;
    if (typeof code === "string" && /^[0-9A-Z]{5}$/.test(code)) return code;
    cause = (cause as { readonly cause?: unknown }).cause;
  }
  return undefined;
}

/** What an error says about the statement: try the transaction again, wait for the server, or it is wrong. */
export type SqlFailure = "conflict" | "unavailable" | "wrong";

/**
 * Sorts an error of a PostgreSQL driver by its SQLSTATE, and an error without one that came from a
 * connection by its system code. Never by message text, with one exception that `pg` leaves no other way
 * for: it reports a lost connection as a plain Error.
 */
export function classifySqlError(error: unknown): SqlFailure {
  const state = sqlStateOf(error);
  if (state !== undefined) {
    // 40001 serialization_failure, 40P01 deadlock_detected, 55P03 lock_not_available.
    if (state === "40001" || state === "40P01" || state === "55P03") return "conflict";
    // 08 connection exception, 53 insufficient resources, 57P operator intervention, 58 system error,
    // 25006 read-only (a standby after a failover), 25P03/25P04 session and transaction time-outs.
    if (/^(08|53|57P|58)/.test(state) || state === "25006" || /^25P0[34]/.test(state)) {
      return "unavailable";
    }
    return "wrong";
  }
  const code = (error as { readonly code?: unknown } | null)?.code;
  if (typeof code === "string" && /^E[A-Z]+$/.test(code)) return "unavailable";
  if (error instanceof Error && lostConnection.test(error.message)) return "unavailable";
  return "wrong";
}

const lostConnection =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout exceeded when trying to connect|Query read timeout)/;

/** The SQLSTATEs that our own SQL functions raise, as errors with our codes. Anything else comes back unchanged. */
export function translateSqlError(error: unknown): unknown {
  const message = error instanceof Error ? error.message : String(error);
  const state = sqlStateOf(error) ?? "";
  if (state === "25P01") return notInTransaction(error);
  const ours = codesBySqlState[state];
  if (ours !== undefined) return new DureError(ours, message, { cause: error });
  // undefined_table, undefined_function, invalid_schema_name.
  if (!["42P01", "42883", "3F000"].includes(state)) return error;
  return new DureError(
    "SCHEMA_MISSING",
    `${message}: the schema of dure is missing or older than this version; run "dure migrate"`,
    { cause: error },
  );
}

/** The error of an emit that would not commit together with anything. */
export function notInTransaction(cause?: unknown): DureError {
  return new DureError(
    "NOT_IN_TRANSACTION",
    "emit was called outside a transaction, so the event could not commit together with anything; nothing was written. Begin a transaction on this connection, or use dure.transaction",
    { cause },
  );
}

const codesBySqlState: Readonly<Record<string, ErrorCode>> = {
  DU002: "TOO_MANY_KEYS",
  DU003: "FENCED",
  DU004: "OUTBOX_BUSY",
  DU005: "TRANSACTION_TIMED_OUT",
  "25P04": "TRANSACTION_TIMED_OUT",
  DU010: "RELAY_NEEDS_WAL",
  DU011: "TABLELESS_OFF",
  DU016: "LEASE_LOST",
};
