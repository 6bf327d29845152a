import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { FencedTable, FencingClaim, LockGuard } from "../lock/guarded-write.ts";
import { fencedTableSql, lockSql } from "./lock-sql.ts";
import { checkSchemaName, quoteIdentifier } from "./pool.ts";
import { sqlStateOf, translateSqlError } from "./sqlstate.ts";

/** What is written, and under which lock. */
type GuardedWrite = FencingClaim & { readonly resource: string };

/** The guard for whoever knows that it is in a transaction. `schema` is quoted. */
export function guardedWrite(
  schema: string,
): (tx: TransactionHandle, write: GuardedWrite) => Promise<void> {
  const { guard } = lockSql(schema);
  return async (tx, { resource, token, holder }) => {
    try {
      await tx.query(guard, [resource, token, holder]);
    } catch (error) {
      throw translateSqlError(error);
    }
  };
}

/**
 * The guard in the library's own table, in the database of your transaction.
 *
 * @throws CONFIGURATION_INVALID when the schema's name cannot be used
 */
export function postgresLockGuard(options?: {
  /** @defaultValue "dure" */
  readonly schema?: string;
}): LockGuard {
  const schema = quoteIdentifier(checkSchemaName(options?.schema ?? "dure"));
  const { assertTransaction } = lockSql(schema);
  const write = guardedWrite(schema);
  return {
    async assertNewest(tx, { resource, token, holder }) {
      if (resource.length < 1 || resource.length > 600) {
        throw invalid("resource: must be a text of 1 to 600 characters");
      }
      checkClaim({ token, holder });
      try {
        await tx.query(assertTransaction);
      } catch (error) {
        throw sqlStateOf(error) === "25P01" ? notInTransaction(error) : translateSqlError(error);
      }
      await write(tx, { resource, token, holder });
    },
  };
}

/** Which table of yours; names as they are stored, each is quoted. */
export interface FencedTableOptions<Column extends string> {
  readonly table: string;
  /** @defaultValue as the connection's search_path finds the table */
  readonly tableSchema?: string;
  /** Unique. @defaultValue "id" */
  readonly idColumn?: string;
  /** `bigint`; null: never written under a lock. @defaultValue "fencing_token" */
  readonly tokenColumn?: string;
  /**
   * `text`: who wrote it. Without it the same token is accepted from anybody, which is right as long as tokens come
   * from one store that has never lost any. @defaultValue none
   */
  readonly holderColumn?: string;
  /** What may be written. */
  readonly columns: readonly Column[];
}

/**
 * Guarded writes on a table of yours that has a column for the token. It opens no connection and remembers the names only.
 *
 * @throws CONFIGURATION_INVALID when a name cannot be one of a table or column
 */
export function postgresFencedTable<const Column extends string>(
  options: FencedTableOptions<Column>,
): FencedTable<Column> {
  const { table, tableSchema, holderColumn, columns } = options;
  const { idColumn = "id", tokenColumn = "fencing_token" } = options;
  const name = [...(tableSchema === undefined ? [] : [tableSchema]), table];
  for (const each of [...name, idColumn, tokenColumn, holderColumn ?? "x", ...columns]) {
    if (each === "" || each.includes("\0") || Buffer.byteLength(each) > 63) {
      throw invalid(`"${each}" must be a name of 1 to 63 bytes`);
    }
  }
  const textOf = fencedTableSql({
    table: name.map(quoteIdentifier).join("."),
    id: quoteIdentifier(idColumn),
    token: quoteIdentifier(tokenColumn),
    holder: holderColumn === undefined ? undefined : quoteIdentifier(holderColumn),
  });
  return {
    async update(tx, { id, token, holder, set }) {
      checkClaim({ token, holder });
      const unknown = Object.keys(set).filter((column) => !columns.some((x) => x === column));
      if (unknown.length > 0) throw invalid(`${unknown.join(", ")}: not in the columns given`);
      // In the order of construction: one text per set of columns.
      const names = columns.filter((column) => set[column] !== undefined);
      const values = names.map((column) => set[column]);
      return written(
        await tx.query(textOf(names), [String(token), holder, String(id), ...values]),
        `row ${String(id)} of ${table}`,
        token,
      );
    },
  };
}

function written(
  { rows }: Awaited<ReturnType<TransactionHandle["query"]>>,
  what: string,
  token: number,
): { readonly kind: "updated" } | { readonly kind: "not-found" } {
  const [row] = rows;
  if (row === undefined) return { kind: "not-found" };
  if (row["is_written"] === true) return { kind: "updated" };
  throw new DureError(
    "FENCED",
    `${what} was not written under fencing token ${token}: a later holder (token ${String(row["token"])}) has written it. The lock was lost; take it again and read again`,
  );
}

function checkClaim({ token, holder }: FencingClaim): void {
  if (!Number.isSafeInteger(token) || token < 1) {
    throw invalid("token: must be the number that the lock was granted with");
  }
  if (typeof holder !== "string" || holder.length < 1 || holder.length > 200) {
    throw invalid("holder: must be the text that the lock was granted with");
  }
}

function notInTransaction(cause: unknown): DureError {
  return new DureError(
    "NOT_IN_TRANSACTION",
    "a guarded write was asked for outside a transaction, where it guards nothing; nothing was written. Begin a transaction on this connection, or use dure.locks.withLock",
    { cause },
  );
}

function invalid(problem: string): DureError {
  return new DureError("CONFIGURATION_INVALID", `guarded write: ${problem}`);
}
