import type pg from "pg";

/** Stands around a statement: gets its text, runs it by `run`, and is told whether a transaction is open before it. */
export type Around = (
  text: string,
  run: () => Promise<unknown>,
  isOpen: boolean,
) => Promise<unknown>;

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
  let isOpen = false;
  return new Proxy(whole, {
    get(target, name) {
      if (name === "connection" && around !== undefined) return undefined;
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      if (name !== "query" || around === undefined) return value.bind(target) as unknown;
      return (text: string, params?: unknown[]) => {
        const wasOpen = isOpen;
        isOpen = text.startsWith("begin") || (isOpen && !/^(commit|rollback)/.test(text));
        return around(text, () => target.query(text, params), wasOpen);
      };
    },
  });
}
