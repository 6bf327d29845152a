export { idempotent } from "./idempotent.ts";
export type { HonoContextShape, HonoInput } from "./idempotent.ts";
