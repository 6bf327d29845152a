import { effectLedgerSql } from "../postgres/effect-ledger-sql.ts";
import type { PostgresPool } from "../postgres/pool.ts";

/** An effect that cannot be rolled back: money that was taken, a mail that was sent. */
export interface Effect {
  /** What was done, for example `payment.charge`. */
  readonly name: string;
  /** The idempotency key under which the other side keeps it: one effect per name and key is right. */
  readonly key: string;
}

/** One line of the ledger, in the order in which they were written. */
export interface RecordedEffect extends Effect {
  readonly isUndo: boolean;
}

/** What happened outside, whatever became of the transactions inside. */
export interface EffectLedger {
  /** Makes the ledger's table; once, in `prepare`. */
  prepare(): Promise<void>;
  /** Called where the effect happens, in the place of the other side or right behind it. */
  record(effect: Effect): Promise<void>;
  /** Called where the effect of that name and key is taken back. */
  recordUndo(effect: Effect): Promise<void>;
  list(): Promise<readonly RecordedEffect[]>;
  /** An invariant: no effect, and no undo, is there twice for its key. */
  nothingTwice(): Promise<readonly string[]>;
  /**
   * An invariant: each effect was undone, or what it was for is done (a saga completed, an order is paid) as
   * `isKept` says. What is both done and undone, or undone and was never there, is a problem as well.
   */
  nothingOwed(isKept: (effect: Effect) => boolean | Promise<boolean>): Promise<readonly string[]>;
}

/**
 * An append-only record of outside effects, for the invariants of a scenario. Give it a pool of its own, not the
 * explorer's: it stands for the other side, so its statements are no crash points, and each line is
 * there for good as soon as `record` answers. It counts what happens; it makes nothing idempotent.
 *
 * If the process dies in `record`, the line is there or not, as with the effect that it stands for.
 */
export function createEffectLedger({ pool }: { readonly pool: PostgresPool }): EffectLedger {
  const write = async ({ name, key }: Effect, isUndo: boolean): Promise<void> => {
    await pool.query(effectLedgerSql.append, [name, key, isUndo]);
  };
  const list = async (): Promise<readonly RecordedEffect[]> => {
    const { rows } = await pool.query(effectLedgerSql.list);
    // The columns are those of the statement, and none of them may be null.
    return rows as unknown as readonly RecordedEffect[];
  };
  return {
    async prepare() {
      await pool.query(effectLedgerSql.create);
    },
    record: (effect) => write(effect, false),
    recordUndo: (effect) => write(effect, true),
    list,
    async nothingTwice() {
      const groups = Map.groupBy(await list(), describeEffect);
      return [...groups].flatMap(([what, { length }]) =>
        length > 1 ? [`${what} is there ${length} times`] : [],
      );
    },
    async nothingOwed(isKept) {
      const problems: string[] = [];
      const groups = Map.groupBy(await list(), ({ name, key }) => JSON.stringify([name, key]));
      for (const lines of groups.values()) {
        problems.push(...(await debtOf(lines, isKept)));
      }
      return problems;
    },
  };
}

async function debtOf(
  lines: readonly RecordedEffect[],
  isKept: (effect: Effect) => boolean | Promise<boolean>,
): Promise<readonly string[]> {
  const [first] = lines;
  if (first === undefined) return [];
  const { name, key } = first;
  const what = describeEffect({ name, key, isUndo: false });
  const isDone = lines.some(({ isUndo }) => !isUndo);
  const isUndone = lines.some(({ isUndo }) => isUndo);
  if (!isDone) return [`${what} was undone and had not been done`];
  const isWanted = await isKept({ name, key });
  if (isWanted && isUndone) return [`${what} was undone and should be there`];
  return isWanted || isUndone ? [] : [`${what} was not undone and has nothing to show for it`];
}

function describeEffect({ name, key, isUndo }: RecordedEffect): string {
  return `${isUndo ? "the undo of " : ""}${name} of ${key}`;
}
