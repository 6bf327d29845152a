export { Idempotent } from "./idempotent.ts";
export type { NestRequestShape } from "./nest-exchange.ts";
export { IdempotencyModule } from "./idempotency-module.ts";
export type { IdempotencyModuleAsync, NestDynamicModule } from "./idempotency-module.ts";
