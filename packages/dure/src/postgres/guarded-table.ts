import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type {
  GuardedTable,
  RowId,
  RowLockOutcome,
  RowOf,
  TransitionOutcome,
  TransitionRequest,
  UpdateOutcome,
  RereadOutcome,
} from "../isolation/guarded-table.ts";
import { guardedTableSql } from "./guarded-table-sql.ts";
import type { GuardedTableSql } from "./guarded-table-sql.ts";
import { checkMs, checkSchemaName, quoteIdentifier } from "./pool.ts";
import { sqlStateOf, translateSqlError } from "./sqlstate.ts";

/** Which table of yours, by names that are constants of your program: each is quoted, so write it as it is stored. */
export interface GuardedTableOptions<Column extends string, Status extends string> {
  readonly table: string;
  /** @defaultValue as the connection's search_path finds the table */
  readonly tableSchema?: string;
  /** Unique. @defaultValue "id" */
  readonly idColumn?: string;
  /** Text or an enum. @defaultValue "status" */
  readonly statusColumn?: string;
  /** A whole number, not null, that every writer raises. @defaultValue none */
  readonly versionColumn?: string;
  /** The states that it knows. Given: transitions from and to others do not compile. */
  readonly statuses?: readonly Status[];
  /** What may be set, locked and read again. @defaultValue none */
  readonly columns?: readonly Column[];
  /** The library's own schema. @defaultValue "dure" */
  readonly schema?: string;
}

/**
 * The countermeasures on a table of yours; it opens no connection and remembers nothing but the names.
 *
 * @throws CONFIGURATION_INVALID when a name cannot be one of a table or column
 */
export function postgresGuardedTable<
  const Column extends string = never,
  const Status extends string = string,
>(options: GuardedTableOptions<Column, Status>): GuardedTable<Column, Status> {
  const columns = options.columns ?? [];
  const { table, tableSchema, idColumn = "id", statusColumn = "status", versionColumn } = options;
  checkNames([table, tableSchema, idColumn, statusColumn, versionColumn, ...columns]);
  const quoted = [...(tableSchema === undefined ? [] : [tableSchema]), table].map(quoteIdentifier);
  const guarded: Guarded<Column> = {
    table,
    quotedTable: quoted.join("."),
    idColumn,
    hasVersion: versionColumn !== undefined,
    columns,
    sql: guardedTableSql(
      {
        table: quoted.join("."),
        id: quoteIdentifier(idColumn),
        status: quoteIdentifier(statusColumn),
        version: versionColumn === undefined ? undefined : quoteIdentifier(versionColumn),
      },
      { columns, schema: quoteIdentifier(checkSchemaName(options.schema ?? "dure")) },
    ),
  };
  return {
    transition: (tx, request) => transition(guarded, tx, request),
    updateVersioned: (tx, request) => updateVersioned(guarded, tx, request),
    lockRow: (tx, request) => lockRow(guarded, tx, request),
    rereadValue: (tx, request) => rereadValue(guarded, tx, request),
  };
}

interface Guarded<Column extends string> {
  readonly table: string;
  readonly quotedTable: string;
  readonly idColumn: string;
  readonly hasVersion: boolean;
  readonly columns: readonly Column[];
  readonly sql: GuardedTableSql;
}

async function transition<Column extends string>(
  guarded: Guarded<Column>,
  tx: TransactionHandle,
  { id, from, to, version, set = {} }: TransitionRequest<Column, string>,
): Promise<TransitionOutcome> {
  const names = knownNames(guarded, set);
  if (from.length === 0) throw invalid(guarded, "from: must name at least one state");
  if (version !== undefined) requireVersion(guarded);
  const values = names.map((name) => set[name]);
  const expected = version === undefined ? null : String(version);
  const { rows } = await tx.query(guarded.sql.transition(names), [
    String(id),
    ...values,
    to,
    JSON.stringify(from),
    expected,
  ]);
  const [row] = rows;
  if (row === undefined) return { kind: "not-found" };
  if (row["is_moved"] === true) return { kind: "moved", version: versionOf(row["new_version"]) };
  const status = String(row["status"]);
  const current = versionOf(row["version"]);
  if (version !== undefined && current !== undefined && from.includes(status)) {
    return conflict(guarded, id, { version, current });
  }
  return { kind: "illegal", status, version: current };
}

async function updateVersioned<Column extends string>(
  guarded: Guarded<Column>,
  tx: TransactionHandle,
  {
    id,
    version,
    set,
  }: { readonly id: RowId; readonly version: number; readonly set: Partial<RowOf<Column>> },
): Promise<UpdateOutcome> {
  const names = knownNames(guarded, set);
  requireVersion(guarded);
  const values = names.map((name) => set[name]);
  const { rows } = await tx.query(guarded.sql.updateVersioned(names), [
    String(id),
    ...values,
    String(version),
  ]);
  const [row] = rows;
  if (row === undefined) return { kind: "not-found" };
  if (row["is_moved"] === true) return { kind: "updated", version: Number(row["new_version"]) };
  return conflict(guarded, id, { version, current: Number(row["version"]) });
}

async function lockRow<Column extends string>(
  guarded: Guarded<Column>,
  tx: TransactionHandle,
  { id, waitMs = 5_000 }: { readonly id: RowId; readonly waitMs?: number },
): Promise<RowLockOutcome<Column>> {
  checkMs("waitMs", waitMs, 0);
  const { sql, quotedTable, idColumn } = guarded;
  await assertTransaction(guarded, tx);
  const params = [String(id)];
  const free = (await tx.query(sql.lockFree, params)).rows[0];
  // The statement names these columns and no others.
  if (free !== undefined) return { kind: "locked", row: free as RowOf<Column> };
  if (waitMs === 0) {
    const isThere = (await tx.query(sql.exists, params)).rows.length > 0;
    return { kind: isThere ? "busy" : "not-found" };
  }
  const { rows } = await tx
    .query(sql.waitForRow, [quotedTable, idColumn, ...params, waitMs])
    .catch((error: unknown) => {
      throw translateSqlError(error);
    });
  if (rows[0]?.["is_locked"] !== true) return { kind: "busy" };
  const locked = (await tx.query(sql.lock, params)).rows[0];
  if (locked === undefined) return { kind: "not-found" };
  return { kind: "locked", row: locked as RowOf<Column> };
}

async function rereadValue<Column extends string>(
  guarded: Guarded<Column>,
  tx: TransactionHandle,
  {
    id,
    before,
    waitMs,
  }: {
    readonly id: RowId;
    readonly before: Partial<RowOf<Column>>;
    readonly waitMs?: number;
  },
): Promise<RereadOutcome<Column>> {
  const names = knownNames(guarded, before);
  if (names.length === 0) throw invalid(guarded, "before: must hold at least one column");
  const outcome = await lockRow(guarded, tx, waitMs === undefined ? { id } : { id, waitMs });
  if (outcome.kind !== "locked") return outcome;
  const { rows } = await tx.query(guarded.sql.compare(names), [
    ...names.map((name) => before[name]),
    String(id),
  ]);
  const changed = names.filter((_, index) => rows[0]?.[`changed_${index + 1}`] !== false);
  if (changed.length === 0) return { kind: "unchanged", row: outcome.row };
  return { kind: "changed", changed, row: outcome.row };
}

/** Outside a transaction the row's lock would be gone before the answer has come. */
async function assertTransaction(guarded: Guarded<string>, tx: TransactionHandle): Promise<void> {
  try {
    await tx.query(guarded.sql.assertTransaction);
  } catch (error) {
    if (sqlStateOf(error) !== "25P01") throw error;
    throw new DureError(
      "NOT_IN_TRANSACTION",
      `a row of ${guarded.table} was to be locked outside a transaction, where no lock lasts; nothing was done. Begin a transaction on this connection, or use dure.transaction`,
      { cause: error },
    );
  }
}

function conflict(
  { table }: Guarded<string>,
  id: RowId,
  { version, current }: { readonly version: number; readonly current: number },
): UpdateOutcome & { readonly kind: "version-conflict" } {
  return {
    kind: "version-conflict",
    table,
    id: String(id),
    expectedVersion: version,
    currentVersion: current,
  };
}

function versionOf(text: unknown): number | undefined {
  return typeof text === "string" ? Number(text) : undefined;
}

/** The names of the given columns, in the order of construction: one text per set of columns. */
function knownNames<Column extends string>(
  guarded: Guarded<Column>,
  values: Partial<RowOf<Column>>,
): readonly Column[] {
  const unknown = Object.keys(values).filter((name) => !guarded.columns.some((x) => x === name));
  if (unknown.length === 0) return guarded.columns.filter((name) => values[name] !== undefined);
  throw invalid(guarded, `${unknown.join(", ")}: not in the columns given at construction`);
}

function requireVersion(guarded: Guarded<string>): void {
  if (guarded.hasVersion) return;
  throw invalid(guarded, "versionColumn: was not given at construction");
}

function checkNames(names: readonly (string | undefined)[]): void {
  for (const name of names) {
    if (name === undefined) continue;
    // PostgreSQL would cut a longer one and then find, or miss, another column.
    const isUsable = typeof name === "string" && name !== "" && !name.includes("\0");
    if (isUsable && Buffer.byteLength(name) <= 63) continue;
    throw new DureError(
      "CONFIGURATION_INVALID",
      `guarded table: "${String(name)}" must be a name of 1 to 63 bytes`,
    );
  }
}

function invalid({ table }: Guarded<string>, problem: string): DureError {
  return new DureError("CONFIGURATION_INVALID", `guarded table ${table}: ${problem}`);
}
