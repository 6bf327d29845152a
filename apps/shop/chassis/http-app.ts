import { LogController, fastify } from "fastify";
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from "fastify";
import { serializerCompiler } from "fastify-type-provider-zod";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "pino";
import { answerClientError, sendProblem } from "./error-answers.ts";
import { requestIdOf } from "./request-context.ts";
import { zodValidatorCompiler } from "./validation.ts";

/** A Fastify instance whose route schemas are zod schemas. */
export type HttpApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

const bodyBytesMax = 1_048_576;

/** The bare instance: limits, ids, and zod for the schemas. Hooks and routes come on top. */
export function createHttpApp(logger: Logger): HttpApp {
  const app = fastify({
    loggerInstance: logger as FastifyBaseLogger,
    // `logRequests` writes our one line per request instead.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: bodyBytesMax,
    genReqId: requestIdOf,
    requestIdHeader: false,
    // Fastify turns Node's limit off; without it a client could send one byte a minute for ever.
    requestTimeout: 60_000,
    // A request that is already on an open connection is served; the connection then closes.
    return503OnClosing: false,
    // Long parameters are for the route's schema to refuse, with a problem that names them.
    routerOptions: { maxParamLength: 16_384 },
    frameworkErrors: sendProblem,
    clientErrorHandler: answerClientError,
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(zodValidatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  // Node would answer 417 by itself, past all hooks; RFC 9110 allows to ignore such a wish.
  app.server.on("checkExpectation", (request, response) =>
    app.server.emit("request", request, response),
  );
  return app;
}
