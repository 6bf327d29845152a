import { resolve } from "node:path";
import { parseArgs } from "node:util";
import type { ParseArgsOptionsConfig } from "node:util";
import { UsageError } from "./setup-error.ts";

/** The words of a command line, by option. */
export type OptionValues = Readonly<Record<string, string | boolean | undefined>>;

/** Options as `parseArgs` takes them, none of them repeatable. */
export type OptionsConfig = Readonly<
  Record<string, { type: "string" | "boolean"; short?: string }>
>;

/** A command line that was understood. */
export interface CommandLine {
  readonly values: OptionValues;
  readonly positionals: readonly string[];
}

/**
 * Reads a command line; every option may be given once.
 *
 * @throws UsageError naming what is not known, missing or too much
 */
export function readCommandLine(
  args: readonly string[],
  options: OptionsConfig,
  positionalsMax = 0,
): CommandLine {
  try {
    const { values, positionals, tokens } = parseArgs({
      args: [...args],
      options: options as ParseArgsOptionsConfig,
      allowPositionals: positionalsMax > 0,
      strict: true,
      tokens: true,
    });
    const names = tokens.flatMap((token) => (token.kind === "option" ? [token.name] : []));
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) throw new UsageError(`--${twice} is given twice`);
    if (positionals.length > positionalsMax) {
      throw new UsageError(`Unexpected argument '${positionals[positionalsMax]}'`);
    }
    return { values: values as OptionValues, positionals };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    // The hint on quoting positionals, which parseArgs adds, would only confuse here.
    throw new UsageError(message.split(". To specify")[0] ?? message, { cause: error });
  }
}

/**
 * A whole number from the command line.
 *
 * @throws UsageError when it is none, or out of bounds
 */
export function wholeNumber(
  name: string,
  value: string | boolean | undefined,
  bounds: { readonly min: number; readonly max: number; readonly fallback: number },
): number {
  if (value === undefined) return bounds.fallback;
  const number = typeof value === "string" && /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= bounds.min && number <= bounds.max) return number;
  throw new UsageError(`--${name} must be a whole number from ${bounds.min} to ${bounds.max}`);
}

/**
 * One of a few words from the command line.
 *
 * @throws UsageError when it is another word
 */
export function oneOf<Word extends string>(
  name: string,
  value: string | boolean | undefined,
  words: readonly Word[],
): Word | undefined {
  if (value === undefined) return undefined;
  const word = words.find((each) => each === value);
  if (word !== undefined) return word;
  throw new UsageError(`--${name} must be one of: ${words.join(", ")}`);
}

/** A text from the command line that must say something. */
export function textOf(name: string, value: string | boolean | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string" && value.trim() !== "") return value;
  throw new UsageError(`--${name} is empty`);
}

/** A path as its giver meant it: npm changes to the root of the repository before it runs us. */
export function callersPath(path: string): string {
  return resolve(process.env["INIT_CWD"] ?? process.cwd(), path);
}
