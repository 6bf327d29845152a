export { idempotent } from "./idempotent.ts";
export type { FetchInput } from "./idempotent.ts";
