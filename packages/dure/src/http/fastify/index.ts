export { idempotent } from "./idempotent.ts";
export type { FastifyInput } from "./idempotent.ts";
export type { FastifyReplyShape, FastifyRequestShape } from "./fastify-exchange.ts";
