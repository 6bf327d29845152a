export { idempotent } from "./idempotent.ts";
export type { FastifyInput, FastifyReplyShape, FastifyRequestShape } from "./idempotent.ts";
