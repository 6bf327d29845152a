import type { FastifyRequest } from "fastify";
import { ProblemError } from "./problem.ts";

/** What a token lets its bearer do. `service` is for the services themselves. */
export type Role = "customer" | "merchant" | "operator" | "service";

/** The roles that a user may have; whatever else a token says is not believed. */
export const userRoles: readonly Role[] = ["customer", "merchant", "operator"];

/** Who asks: a user, or a service on its own account. */
export interface Principal {
  readonly userId: string;
  readonly roles: readonly Role[];
}

/**
 * Who may call a route. Every route says so in `config.access`; one that does not stops the
 * service from starting.
 */
export type Access = "public" | "service" | readonly Role[];

declare module "fastify" {
  interface FastifyRequest {
    /** Who asks. Undefined on public routes only; see `principalOf`. */
    principal: Principal | undefined;
  }
  interface FastifyContextConfig {
    access?: Access;
  }
}

/** The principal of a request to a route that is not public. */
export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === undefined) {
    throw new Error(`${request.routeOptions.url} is public and has no principal`);
  }
  return request.principal;
}

/** Whether the principal has at least one of the roles. */
export function hasRole(principal: Principal, roles: readonly Role[]): boolean {
  return roles.some((role) => principal.roles.includes(role));
}

/** @throws ProblemError FORBIDDEN when the principal has none of the roles */
export function requireRole(principal: Principal, roles: readonly Role[]): void {
  if (hasRole(principal, roles)) return;
  throw new ProblemError("FORBIDDEN", `This takes one of the roles ${roles.join(", ")}.`);
}

/**
 * The headers by which one service tells another for whom it asks. They are believed only beside
 * a service token. The id is percent-encoded, because header values are not Unicode.
 */
export function delegationHeaders(principal: Principal): Record<string, string> {
  return {
    "x-user-id": encodeURIComponent(principal.userId),
    "x-user-roles": principal.roles.join(","),
  };
}

/** The user that a calling service asks for; undefined when it asks for itself. */
export function delegatedPrincipal(request: FastifyRequest): Principal | undefined {
  const { "x-user-id": id, "x-user-roles": roles } = request.headers;
  if (typeof id !== "string") return undefined;
  return { userId: decodeUserId(id), roles: knownUserRoles(String(roles ?? "").split(",")) };
}

/** The user roles among whatever words a token or a header lists. */
export function knownUserRoles(words: readonly unknown[]): readonly Role[] {
  return userRoles.filter((role) => words.includes(role));
}

function decodeUserId(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch (cause) {
    throw new ProblemError("VALIDATION_FAILED", "X-User-Id is not encoded correctly.", { cause });
  }
}
