export { idempotent } from "./idempotent.ts";
export type { ExpressInput } from "./idempotent.ts";
export type { ExpressRequestShape } from "./express-exchange.ts";
