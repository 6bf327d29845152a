export { manualClock } from "./manual-clock.ts";
export type { ManualClock } from "./manual-clock.ts";
export { transportContract } from "./transport-contract.ts";
export type { ContractCase } from "./transport-contract.ts";
export type { TransportContractSubject } from "./transport-probe.ts";
