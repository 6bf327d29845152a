export { memoryTransport } from "./transport.ts";
export type { MemoryTransportOptions } from "./transport.ts";
