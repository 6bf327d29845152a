import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { describeError, isDureError } from "../core/errors.ts";
import type { AnySagaDefinition } from "../saga/saga-definition.ts";
import { CliFailure } from "./failure.ts";

/** The saga definitions that a module exports, by name and version. Runs the module. */
export async function exportedSagas(module: string): Promise<readonly AnySagaDefinition[]> {
  const path = resolve(module);
  if (!existsSync(path))
    throw new CliFailure(`${path}: there is no such file`, { cause: undefined });
  const exported = new Set(Object.values(await load(path)).filter(isDefinition));
  const definitions = [...exported].toSorted(
    (one, other) => one.name.localeCompare(other.name) || one.version - other.version,
  );
  if (definitions.length > 0) return definitions;
  throw new CliFailure(`${path} exports no saga: export what .output() or .end() returned`, {
    cause: undefined,
  });
}

async function load(path: string): Promise<object> {
  try {
    return (await import(pathToFileURL(path).href)) as object;
  } catch (error) {
    // A definition that is refused has said what is wrong with it; that is no wrong use of the command line.
    const text = isDureError(error) ? `${error.code}: ${error.message}` : describeError(error);
    throw new CliFailure(`${path} cannot be loaded: ${text}`, { cause: error });
  }
}

function isDefinition(value: unknown): value is AnySagaDefinition {
  if (typeof value !== "object" || value === null) return false;
  return ["name", "version", "schema", "nodes", "output"].every((name) => name in value);
}
