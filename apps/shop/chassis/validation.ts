import type { FastifySchemaCompiler } from "fastify";
import { safeParse } from "zod/v4/core";
import type { $ZodIssue, $ZodType } from "zod/v4/core";
import { ProblemError } from "./problem.ts";
import type { FieldError } from "./problem.ts";

/** A body of a thousand bad lines is told of the first hundred. */
const errorsMax = 100;

/**
 * Validates every part of a request with its zod schema; a refusal is VALIDATION_FAILED and names
 * each field. Nothing is coerced, and what the schema does not know it refuses (`strictObject`).
 */
export const zodValidatorCompiler: FastifySchemaCompiler<$ZodType> = ({ schema, httpPart }) => {
  const where = partNames[httpPart ?? ""] ?? "request";
  return (data) => {
    // Fastify gives null for a body that is not there; to a schema that is `undefined`.
    const result = safeParse(schema, data === null ? undefined : data);
    if (result.success) return { value: result.data };
    return { error: validationProblem(where, result.error.issues) };
  };
};

/** The problem for zod's issues. Also for what a handler parses by itself. */
export function validationProblem(where: string, issues: readonly $ZodIssue[]): ProblemError {
  const errors = issues.slice(0, errorsMax).flatMap(fieldErrors).slice(0, errorsMax);
  return new ProblemError("VALIDATION_FAILED", `The ${where} is not valid.`, { errors });
}

const partNames: Readonly<Record<string, string>> = {
  body: "body",
  params: "path",
  querystring: "query",
  headers: "header",
};

function fieldErrors(issue: $ZodIssue): readonly FieldError[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      path: [...issue.path, key].join("."),
      message: "Unknown field",
    }));
  }
  return [{ path: issue.path.join("."), message: issue.message }];
}
