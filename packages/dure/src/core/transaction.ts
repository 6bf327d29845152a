/** One statement and its parameters. */
export interface Statement {
  readonly text: string;
  readonly params: readonly (string | number | boolean | null)[];
}

/**
 * A running database transaction, by its shape. Everything that must commit together is sent through one
 * handle, on the one connection whose transaction it is. `from-pg`, `from-kysely` and their neighbours make
 * one of what your ORM gives you.
 *
 * `text` uses `$1 … $n`, each once and in order.
 */
export interface TransactionHandle {
  query(
    text: string,
    params?: readonly unknown[],
  ): Promise<{
    readonly rows: readonly Record<string, unknown>[];
    readonly rowCount?: number | null;
  }>;
}
