/** One statement and its parameters. */
export interface Statement {
  readonly text: string;
  readonly params: readonly (string | number | boolean | null)[];
}

/** Statements that are run with BEGIN. */
export interface Opening {
  /** In this order, in one round trip with BEGIN where the driver can. */
  readonly statements: readonly Statement[];
  /**
   * Texts that very many transactions run among their first or their last statements: the last ones first. They are
   * prepared once per connection where the driver can.
   */
  readonly prepared: readonly string[];
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
