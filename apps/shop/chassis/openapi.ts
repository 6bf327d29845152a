import swagger from "@fastify/swagger";
import type { SwaggerTransform } from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyContextConfig, FastifyInstance, FastifySchema, RouteOptions } from "fastify";
import { jsonSchemaTransform } from "fastify-type-provider-zod";
import { $ZodType, safeParse } from "zod/v4/core";
import { keyLengthMax } from "dure/idempotency";
import { problemContentType, problemKinds } from "./problem.ts";

/** What the document says about the service as a whole. */
export interface ApiDescription {
  readonly title: string;
  readonly description: string;
  readonly version: string;
}

/**
 * Documents every route that is registered afterwards, as OpenAPI 3.1 at `/openapi.json` and for
 * people at `/docs`. Tokens, keys and problems are described from the routes' `config`, so that no
 * route repeats them.
 */
export async function describeApi(app: FastifyInstance, api: ApiDescription): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { ...api },
      components: {
        securitySchemes: { bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" } },
      },
    },
    transform: describeRoute,
  });
  await app.register(swaggerUi, { routePrefix: "/docs" });
}

/** Serves the document itself. */
export function serveApiDocument(app: FastifyInstance): void {
  app.get("/openapi.json", { schema: { hide: true }, config: { access: "public" } }, () =>
    app.swagger(),
  );
}

const describeRoute: SwaggerTransform = (route) => {
  // The transform's types speak of plain Fastify schemas, jsonSchemaTransform's of zod ones.
  const described = jsonSchemaTransform(route as Parameters<typeof jsonSchemaTransform>[0]);
  const { body, ...rest }: FastifySchema = described.schema ?? {};
  // The document calls every body required; one that may be left out has nothing to say here.
  const schema = isOptional(route.schema?.body) ? rest : { ...rest, ...(body ? { body } : {}) };
  return { url: described.url, schema: { ...schema, ...shared(schema, route.route) } };
};

function isOptional(body: unknown): boolean {
  return body instanceof $ZodType && safeParse(body, undefined).success;
}

function shared(schema: FastifySchema, route: RouteOptions): FastifySchema {
  if (schema.hide === true) return {};
  const config = route.config ?? {};
  const isPublic = config.access === undefined || config.access === "public";
  const responses = (schema.response ?? {}) as Record<string, unknown>;
  return {
    ...(isPublic ? {} : { security: [{ bearer: [] }] }),
    ...headersOf(config),
    response: { ...responses, default: problemResponse },
  };
}

function headersOf(config: FastifyContextConfig): FastifySchema {
  const properties = {
    ...(config.idempotencyKey === true
      ? { "Idempotency-Key": keySchema("Chosen by the caller, one per action.") }
      : {}),
    ...(config.compensates === true
      ? { Compensates: keySchema("The Idempotency-Key of the call that this one undoes.") }
      : {}),
  };
  const required = Object.keys(properties);
  return required.length === 0 ? {} : { headers: { type: "object", required, properties } };
}

function keySchema(description: string): Record<string, unknown> {
  return {
    type: "string",
    minLength: 1,
    maxLength: keyLengthMax,
    pattern: "^[ -~]+$",
    description,
  };
}

const problemResponse = {
  description: "A problem (RFC 9457)",
  content: {
    [problemContentType.split(";", 1)[0] ?? ""]: {
      schema: {
        type: "object",
        required: ["type", "title", "status", "detail", "code", "traceId"],
        properties: {
          type: { type: "string" },
          title: { type: "string" },
          status: { type: "integer" },
          detail: { type: "string" },
          code: { type: "string", enum: Object.keys(problemKinds) },
          traceId: { type: "string" },
          errors: {
            type: "array",
            items: {
              type: "object",
              required: ["path", "message"],
              properties: { path: { type: "string" }, message: { type: "string" } },
            },
          },
        },
      },
    },
  },
};
