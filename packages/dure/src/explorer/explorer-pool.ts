import { type AnswerSwitch, type FaultSwitch, lostAnswer } from "./fault-switch.ts";
import type { ExplorablePool, ExplorerPoolOptions } from "./scenario-module.ts";
import { statementName } from "./statement-name.ts";

/**
 * The pool with a crash point before and after each statement of its own and of its clients. Everything else
 * is passed on, so that what knows more of the driver than its shape still finds it.
 */
export function explorerPool<Pool extends ExplorablePool>(
  pool: Pool,
  faults: FaultSwitch,
  options: ExplorerPoolOptions = {},
): Pool {
  const clients = new WeakMap<object, object>();
  const begin = beginStatement(faults, options);
  const seen = (client: object): object => {
    const known = clients.get(client) ?? seeStatements(client, begin);
    clients.set(client, known);
    return known;
  };
  const connect = async (): Promise<object> => seen(await pool.connect());
  const connectWithCallback = (callback?: ConnectCallback): unknown => {
    if (callback === undefined) return connect();
    const target = pool as unknown as { connect(callback: ConnectCallback): void };
    target.connect((error, client, release) => {
      callback(error, client === undefined ? client : seen(client), release);
    });
    return undefined;
  };
  // Whoever asks how many arguments `connect` takes (0: a promise only) has to hear the same.
  const replaced = pool.connect.length === 0 ? connect : connectWithCallback;
  return seeStatements(pool, begin, { connect: replaced });
}

/** A statement that is a crash point, begun; undefined for one that is none. */
type BeginStatement = (
  text: string,
) => { readonly name: string; readonly answer: AnswerSwitch } | undefined;

function beginStatement(
  faults: FaultSwitch,
  { name: poolName, only = () => true }: ExplorerPoolOptions,
): BeginStatement {
  return (text) => {
    const statement = statementName(text);
    if (!only(statement)) return undefined;
    const name = poolName === undefined ? statement : `${poolName} ${statement}`;
    return { name, answer: faults.begin(name) };
  };
}

type ConnectCallback = (error: unknown, client: object | undefined, release: unknown) => void;

type Query = (this: unknown, ...args: unknown[]) => unknown;

function seeStatements<Target extends object>(
  whole: Target,
  begin: BeginStatement,
  replaced: Readonly<Record<string, unknown>> = {},
): Target {
  const query = (...args: unknown[]): unknown => {
    const run = (...sent: unknown[]): unknown =>
      (Reflect.get(whole, "query", whole) as Query).apply(whole, sent);
    const cut = (): void => cutConnection(whole);
    return runSeen(args, { begin, run, cut });
  };
  return new Proxy(whole, {
    get(target, name) {
      if (name === "query") return query;
      if (typeof name === "string" && Object.hasOwn(replaced, name)) return replaced[name];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

interface Run {
  readonly begin: BeginStatement;
  readonly run: (...args: unknown[]) => unknown;
  /** What a lost answer does to the connection. */
  readonly cut: () => void;
}

/** The three ways of `pg` to run a statement: with a promise, with a callback, as a query object of its own. */
function runSeen(args: readonly unknown[], { begin, run, cut }: Run): unknown {
  const [first] = args;
  const begun = begin(textOf(first));
  if (begun === undefined) return run(...args);
  const { name, answer } = begun;
  if (isSubmittable(first)) return run(watchSubmittable(first, { name, answer, cut }));
  const callback = args.at(-1);
  if (typeof callback === "function") {
    const heard = (error: unknown, result: unknown): void => {
      const outcome = settle(answer, error, { name, cut });
      (callback as (error: unknown, result: unknown) => void)(
        outcome,
        outcome ? undefined : result,
      );
    };
    return run(...args.slice(0, -1), heard);
  }
  return (run(...args) as Promise<unknown>).then(
    (result) => {
      const lost = settle(answer, undefined, { name, cut });
      if (lost !== undefined) throw lost;
      return result;
    },
    (error: unknown) => {
      answer.failed();
      throw error;
    },
  );
}

/** The error that the caller gets, if any: the statement's own, or that of a lost answer. */
function settle(
  answer: AnswerSwitch,
  error: unknown,
  { name, cut }: { readonly name: string; readonly cut: () => void },
): Error | undefined {
  if (error !== undefined && error !== null) {
    answer.failed();
    return error as Error;
  }
  if (answer.answered() === "passed") return undefined;
  cut();
  return lostAnswer(name);
}

/** A query object that writes the protocol's messages itself, as cursors and Dure's own COMMIT do. */
interface Submittable {
  readonly text?: unknown;
  submit(connection: unknown): unknown;
  handleReadyForQuery(...args: unknown[]): void;
  handleError(...args: unknown[]): void;
}

function isSubmittable(value: unknown): value is Submittable {
  return typeof value === "object" && value !== null && "submit" in value;
}

/** The driver tells such an object of its end by one of two calls, which are heard first. */
function watchSubmittable(
  query: Submittable,
  { name, answer, cut }: { name: string; answer: AnswerSwitch; cut: () => void },
): Submittable {
  const ready = query.handleReadyForQuery.bind(query);
  const failed = query.handleError.bind(query);
  let isOver = false;
  query.handleReadyForQuery = (...args) => {
    const isFirst = !isOver;
    isOver = true;
    if (isFirst && answer.answered() === "lost") {
      cut();
      return failed(lostAnswer(name), ...args);
    }
    return ready(...args);
  };
  query.handleError = (...args) => {
    if (!isOver) answer.failed();
    isOver = true;
    return failed(...args);
  };
  return query;
}

function textOf(query: unknown): string {
  if (typeof query === "string") return query;
  const text = (query as { readonly text?: unknown } | null)?.text;
  if (typeof text === "string") return text;
  return (query as object | null)?.constructor.name ?? "statement";
}

/** Of a client of `pg`; a pool closes the connection of its own accord, and other drivers have no such part. */
function cutConnection(client: object): void {
  const { connection } = client as {
    readonly connection?: { readonly stream?: { destroy?(): unknown } };
  };
  connection?.stream?.destroy?.();
}
