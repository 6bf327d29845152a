import type { FastifyInstance } from "fastify";
import { ProblemError } from "./problem.ts";

/**
 * Accepts bodies of application/json and nothing else. The bytes must be UTF-8, the JSON must not
 * try to replace a prototype, and no string holds U+0000, which PostgreSQL cannot store. An empty
 * body is no body: whether one is needed is for the route's schema to say.
 */
export function acceptJsonOnly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>(
    "application/json",
    { parseAs: "buffer" },
    (request, bytes, done) => {
      if (bytes.length === 0) return done(null, undefined);
      const text = decodeUtf8(bytes);
      if (text === undefined) return done(malformed("The body is not valid UTF-8."));
      // It calls back before it returns; there is nothing to wait for.
      void parse(request, text, (error, value) => {
        if (error) return done(malformed("The body is not valid JSON.", error));
        if (text.includes("\\u0000") && hasNul(value)) return done(nulRefused("body"));
        done(null, value);
      });
    },
  );
  app.addHook("onRequest", (request, _reply, done) => {
    done(request.url.includes("%00") ? nulRefused("URL") : undefined);
  });
}

function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function malformed(detail: string, cause?: unknown): ProblemError {
  return new ProblemError("MALFORMED_JSON", detail, { cause });
}

function nulRefused(where: string): ProblemError {
  const errors = [{ path: "", message: "The character U+0000 is not allowed" }];
  return new ProblemError("VALIDATION_FAILED", `The ${where} holds U+0000.`, { errors });
}

/** Walks with a list of its own, because a body may nest deeper than the call stack goes. */
function hasNul(root: unknown): boolean {
  const pending: unknown[] = [root];
  while (pending.length > 0) {
    const value = pending.pop();
    if (typeof value === "string" && value.includes("\0")) return true;
    if (typeof value === "object" && value !== null) {
      for (const [key, child] of Object.entries(value)) pending.push(key, child);
    }
  }
  return false;
}
