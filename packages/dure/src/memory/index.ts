export { memoryTransport } from "./transport.ts";
