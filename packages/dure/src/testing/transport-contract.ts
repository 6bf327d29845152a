import { groupCases } from "./transport-group-cases.ts";
import { messageCases } from "./transport-message-cases.ts";
import { createProbe } from "./transport-probe.ts";
import type { TransportContractSubject, TransportProbe } from "./transport-probe.ts";

/** One promise of a port, and how to see that an implementation keeps it. */
export interface ContractCase<Subject> {
  readonly name: string;
  /** Rejects, as a rule with an `AssertionError`, when the promise is not kept. */
  readonly run: (subject: Subject) => Promise<void>;
}

/**
 * What every transport promises, as data: any test runner can run it, against any adapter. Cases are
 * independent, may run side by side, and leave nothing open.
 *
 * ```ts
 * for (const { name, run } of transportContract) it(name, () => run({ transport: myTransport() }));
 * ```
 */
export const transportContract: readonly ContractCase<TransportContractSubject>[] = [
  ...messageCases,
  ...groupCases,
].map(({ name, check }) => ({
  name,
  run: async (subject) => {
    const probe: TransportProbe = createProbe(subject);
    try {
      await check(probe);
    } finally {
      await probe.close();
    }
  },
}));
