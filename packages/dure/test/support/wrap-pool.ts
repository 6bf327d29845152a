import type pg from "pg";

/** Stands around a statement: gets its text, and runs it by `run`. */
export type Around = (text: string, run: () => Promise<unknown>) => Promise<unknown>;

/**
 * The pool as the library sees it, with statements passed through a function: those of the pool itself, which are
 * alone in their transactions, through `alone`, those of a connection that was taken out through `onClient`.
 * The library then sends them one by one: it cannot write the protocol's messages itself.
 */
export function wrapPool(
  pool: pg.Pool,
  { alone, onClient }: { readonly alone?: Around; readonly onClient?: Around },
): pg.Pool {
  const connect = async () => wrapQuery(await pool.connect(), onClient);
  return new Proxy(wrapQuery(pool, alone), {
    get(target, name) {
      return name === "connect" ? connect : (Reflect.get(target, name, target) as unknown);
    },
  });
}

function wrapQuery<Target extends pg.Pool | pg.PoolClient>(
  whole: Target,
  around: Around | undefined,
): Target {
  return new Proxy(whole, {
    get(target, name) {
      if (name === "connection" && around !== undefined) return undefined;
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      if (name !== "query" || around === undefined) return value.bind(target) as unknown;
      return (text: string, params?: unknown[]) => around(text, () => target.query(text, params));
    },
  });
}
