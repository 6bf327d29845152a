import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Authenticator } from "./auth.ts";
import { delegatedPrincipal, hasRole, requireRole } from "./principal.ts";
import type { Access, Principal } from "./principal.ts";
import { ProblemError } from "./problem.ts";

/** Who is expected to call a server: people with tokens of their own, or the other services. */
export type Callers = "users" | "services";

/**
 * Lets a request through to its route only as the route's `config.access` says. A server for
 * services answers 401 to every token that is not a service's, and takes the user whom the calling
 * service names as the principal.
 */
export function guardRoutes(
  app: FastifyInstance,
  authenticator: Authenticator,
  callers: Callers,
): void {
  app.decorateRequest("principal", undefined);
  app.addHook("onRoute", (route) => {
    if (route.config?.access === undefined) {
      throw new Error(`${String(route.method)} ${route.url} does not say who may call it`);
    }
  });
  app.addHook("onRequest", async (request) => {
    const access = request.routeOptions.config.access;
    if (access === undefined || access === "public") return;
    const bearer = await authenticator.authenticate(request.headers.authorization);
    request.principal = admit(request, bearer, access, callers);
  });
}

function admit(
  request: FastifyRequest,
  bearer: Principal,
  access: Exclude<Access, "public">,
  callers: Callers,
): Principal {
  const isService = hasRole(bearer, ["service"]);
  if ((access === "service" || callers === "services") && !isService) throw serviceTokenRequired();
  const principal = (isService ? delegatedPrincipal(request) : undefined) ?? bearer;
  if (access !== "service") requireRole(principal, access);
  return principal;
}

function serviceTokenRequired(): ProblemError {
  return new ProblemError("UNAUTHENTICATED", "Only the shop's services may call this.", {
    headers: { "www-authenticate": 'Bearer realm="shop", error="invalid_token"' },
  });
}
