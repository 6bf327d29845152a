export { idempotent } from "./idempotent.ts";
export type { ExpressInput, ExpressRequestShape } from "./idempotent.ts";
