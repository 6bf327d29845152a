import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** The client of a Prisma transaction by its shape. A `PrismaClient` is none, and its type says so. */
export interface PrismaTransaction {
  $queryRawUnsafe(text: string, ...params: unknown[]): PromiseLike<unknown>;
  /** What only the client outside has. */
  readonly $connect?: never;
}

/**
 * The transaction of Prisma on PostgreSQL: the `tx` of the interactive form,
 * `prisma.$transaction(async (tx) => …)`. The form that takes a list has no `tx`, and none is made for it.
 *
 * Values come as `pg` gives them: what Prisma makes a `bigint` or a `Decimal` is text. The count of rows is of
 * those that were returned. Prisma reads no column of an exotic type (`void`, `interval`): cast it to text. An
 * error of the database has the SQLSTATE as its `code`, and Prisma's own error as its `cause`.
 *
 * @throws CONFIGURATION_INVALID for the `PrismaClient`: each of its queries may run on another connection
 */
export function fromPrisma(tx: PrismaTransaction): TransactionHandle {
  const given = tx as { readonly [Name in keyof PrismaTransaction]?: unknown } | null | undefined;
  if (typeof given?.$queryRawUnsafe !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromPrisma: this is no Prisma transaction; pass the tx that prisma.$transaction hands to your function",
    );
  }
  if (given.$connect !== undefined) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromPrisma: this is the client and no transaction; pass the tx that prisma.$transaction hands to your function",
    );
  }
  return {
    async query(text, params = []) {
      const rows = await tx.$queryRawUnsafe(text, ...params).then(recordsOf, databaseError);
      return { rows, rowCount: rows.length };
    },
  };
}

function recordsOf(answer: unknown): readonly Record<string, unknown>[] {
  return (answer as readonly Record<string, unknown>[]).map((row) =>
    Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)])),
  );
}

/** Prisma's `Decimal` is told by its method: its class is in the generated client, and JSON has no methods. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  return isDecimal(value) ? value.toFixed() : value;
}

function isDecimal(value: unknown): value is { toFixed(): string } {
  const given = (typeof value === "object" ? value : null) as { readonly toFixed?: unknown } | null;
  return typeof given?.toFixed === "function";
}

/** Prisma has the SQLSTATE two levels down, and a code of its own that looks like one. */
function databaseError(error: unknown): never {
  const { cause } = (error as PrismaRawError | null)?.meta?.driverAdapterError ?? {};
  if (typeof cause?.originalCode !== "string") throw error;
  const message = cause.originalMessage ?? "the database refused the statement";
  throw Object.assign(new Error(message, { cause: error }), { code: cause.originalCode });
}

interface PrismaRawError {
  readonly meta?: {
    readonly driverAdapterError?: {
      readonly cause?: { readonly originalCode?: unknown; readonly originalMessage?: string };
    };
  };
}
