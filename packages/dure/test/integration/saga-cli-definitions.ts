/** The definitions of the command line's tests, as a service has them. */
import { z } from "zod";
import { PermanentError, saga } from "../../src/index.ts";
import type { SagaDefinition } from "../../src/index.ts";

/** Fails for good after its pivot, unless it is asked to `ship`. */
export const order: SagaDefinition<{ order: string; ship: boolean }, unknown> = saga("cli-order", {
  version: 1,
  input: z.object({ order: z.string(), ship: z.boolean() }),
  key: (input) => input.order,
})
  .step("reserve", { run: async () => "r-1", compensate: async () => undefined })
  .pivot("pay", { run: async () => "p-1" })
  .step("ship", {
    run: async ({ input }) => {
      if (!input.ship) throw new PermanentError("no carrier");
    },
  })
  .end();
