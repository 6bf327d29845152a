/** The compiler knows a saga: its results, its names, its pivot, and what JSON can carry. */
import type { Pool, PoolClient } from "pg";
import { describe, expectTypeOf, it } from "vitest";
import { z } from "zod";
import { event, saga } from "../index.ts";
import type {
  AnySagaDefinition,
  CompensationCall,
  SagaDefinition,
  SagaInput,
  SagaOutput,
  ServiceTransaction,
  StepCall,
} from "../index.ts";

interface Order {
  readonly orderId: string;
}
type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

const input = z.object({
  orderId: z.string(),
  amount: z.int(),
  channel: z.string().default("web"),
  note: z.string().optional(),
});
const order = z.object({ orderId: z.string() });
const key = (data: Order): string => data.orderId;
const ReserveStock = event("stock.reserve", { version: 1, schema: order, key });
const reserved = order.extend({ reservationId: z.string() });
const StockReserved = event("stock.reserved", { version: 1, schema: reserved, key });
const OutOfStock = event("stock.out", {
  version: 1,
  schema: order.extend({ missing: z.int() }),
  key,
});
const none = (): Promise<void> => Promise.resolve();
const one = (): Promise<number> => Promise.resolve(1);
const text = (): { text: string; params: [] } => ({ text: "select 1", params: [] });

const draft = saga("checkout", { version: 1, input, key: (given) => given.channel });
const decided = draft.pivot("capture", { run: one });

const checkout = draft
  .withClient<PoolClient>()
  .step("create-order", {
    local: ({ input: given, tx, call }) => {
      expectTypeOf(given.channel).toEqualTypeOf<string>();
      expectTypeOf(given.note).toEqualTypeOf<string | undefined>();
      expectTypeOf(tx).toEqualTypeOf<ServiceTransaction<PoolClient>>();
      expectTypeOf(call).toEqualTypeOf<StepCall>();
      return Promise.resolve({ orderId: given.orderId });
    },
    compensate: ({ tx, result, call }) => {
      expectTypeOf(result).toEqualTypeOf<{ orderId: string }>();
      expectTypeOf(tx.client).toEqualTypeOf<PoolClient>();
      expectTypeOf(call).toEqualTypeOf<CompensationCall>();
      return none();
    },
  })
  .step("score", { run: ({ results }) => Promise.resolve(results["create-order"].orderId.length) })
  .step("mark", {
    statement: ({ results }) => ({ text: "select $1", params: [results.score] }),
    compensate: ({ result }) => {
      expectTypeOf(result).toEqualTypeOf<undefined>();
      return text();
    },
  })
  .step("reserve", {
    send: ({ input: given }) => ReserveStock.of({ orderId: given.orderId }),
    done: StockReserved,
    refused: OutOfStock,
    reason: (data) => `${data.missing} missing`,
    compensate: {
      send: ({ result, input: given }) => {
        expectTypeOf(result).toEqualTypeOf<z.infer<typeof reserved> | undefined>();
        return ReserveStock.of({ orderId: given.orderId });
      },
      done: StockReserved,
    },
  })
  .parallel("ask", (group) =>
    group
      .step("ask-fraud", { run: () => Promise.resolve("low" as const), readOnly: true })
      .step("hold-money", {
        run: ({ results }) => Promise.resolve({ holdId: results.reserve.reservationId }),
        compensate: {
          local: ({ result, tx }) => {
            expectTypeOf(result).toEqualTypeOf<{ holdId: string } | undefined>();
            expectTypeOf(tx.client).toEqualTypeOf<PoolClient>();
            return none();
          },
          action: "release",
          retry: { attempts: 3 },
          needs: ["ship"],
        },
      }),
  )
  .branch("size", ({ input: given }) => (given.amount > 100 ? "large" : "small"), {
    large: (branch) =>
      branch
        .step("approve", { run: () => Promise.resolve({ by: "someone" }) })
        .step("insure", { run: ({ results }) => Promise.resolve(results.approve.by) }),
    small: (branch) => branch,
  })
  .pivot("capture", { run: ({ results }) => Promise.resolve(results["hold-money"].holdId) })
  .step("ship", { run: ({ results }) => Promise.resolve([results.capture]) })
  .output(({ results }) => ({
    orderId: results["create-order"].orderId,
    by: results.approve?.by,
    fraud: results["ask-fraud"],
    parcels: results.ship,
    mark: results.mark,
  }));

describe("a definition", () => {
  it("knows what it is started with, and what it comes to", () => {
    expectTypeOf<SagaInput<typeof checkout>>().toEqualTypeOf<{
      orderId: string;
      amount: number;
      channel?: string | undefined;
      note?: string | undefined;
    }>();
    expectTypeOf<SagaOutput<typeof checkout>>().toEqualTypeOf<{
      orderId: string;
      by: string | undefined;
      fraud: "low";
      parcels: string[];
      mark: undefined;
    }>();
    const nothing = draft.step("a", { run: none }).end();
    expectTypeOf<SagaOutput<typeof nothing>>().toEqualTypeOf<undefined>();
  });

  it("is started with its input and nothing else", () => {
    const start = <Input, Output>(
      _definition: SagaDefinition<Input, Output>,
      _input: Input,
    ): Output | undefined => undefined;
    expectTypeOf(start(checkout, { orderId: "o", amount: 1 })).toEqualTypeOf<
      SagaOutput<typeof checkout> | undefined
    >();
    // @ts-expect-error A field is missing.
    start(checkout, { orderId: "o" });
    // @ts-expect-error A field is of another type.
    start(checkout, { orderId: "o", amount: "1" });
  });

  it("fits a service of its client, and any service when it expects none", () => {
    const run = <Input>(_definition: SagaDefinition<Input, unknown, Pool>): void => {};
    const runAny = (_definition: AnySagaDefinition): void => {};
    runAny(checkout);
    run(draft.step("a", { run: none }).end());
    run(draft.withClient<Pool>().step("a", { run: none }).end());
    // @ts-expect-error Its local steps expect a PoolClient.
    run(checkout);
    draft.step("a", {
      local: ({ tx }) => {
        expectTypeOf(tx.client).toEqualTypeOf<unknown>();
        return none();
      },
    });
  });

  it("has a key that is a string of its input", () => {
    // @ts-expect-error A number is no key.
    saga("a", { version: 1, input, key: (given) => given.amount });
    // @ts-expect-error There is no such option.
    saga("a", { version: 1, input, retries: 3 });
    // @ts-expect-error The version is missing.
    saga("a", { input });
  });
});

describe("a name", () => {
  it("is taken once, wherever it stands", () => {
    // @ts-expect-error A step has this name.
    draft.step("a", { run: none }).step("a", { run: none });
    // @ts-expect-error A step has this name.
    draft.step("a", { run: none }).pivot("a", { run: none });
    // @ts-expect-error The pivot has this name.
    decided.step("capture", { run: none });
    // @ts-expect-error A step has this name.
    draft.step("a", { run: none }).parallel("a", (group) => group.step("b", { run: none }));
    // @ts-expect-error The group has this name.
    draft.parallel("a", (group) => group.step("a", { run: none }));
    // @ts-expect-error Its neighbour has this name.
    draft.parallel("a", (group) => group.step("b", { run: none }).step("b", { run: none }));
    const grouped = draft.parallel("a", (group) => group.step("b", { run: none }));
    // @ts-expect-error A step of the group has this name.
    grouped.step("b", { run: none });
    const split = draft.branch("a", () => "x", { x: (branch) => branch.step("b", { run: none }) });
    // @ts-expect-error A step of a case has this name.
    split.step("b", { run: none });
    draft.branch("way", ({ input: given }) => (given.amount > 1 ? "x" : "y"), {
      // @ts-expect-error The other case has a step of this name.
      x: (branch) => branch.step("b", { run: none }),
      // @ts-expect-error The other case has a step of this name.
      y: (branch) => branch.step("b", { run: none }),
    });
  });

  it("is written out", () => {
    // @ts-expect-error The compiler could not follow it.
    draft.step(String(1), { run: none });
  });
});

describe("results", () => {
  it("are those of earlier steps", () => {
    draft.step("a", {
      // @ts-expect-error It is this very step.
      run: ({ results }) => Promise.resolve(String(results.a)),
    });
    const early = {
      // Written apart, so that it is what the compiler refuses.
      run: ({ results }: { readonly results: { readonly b: number } }) =>
        Promise.resolve(results.b),
    };
    // @ts-expect-error Step b is later.
    draft.step("a", early).step("b", { run: one });
    draft.step("b", { run: one }).step("a", early);
    draft.step("a", { run: one }).step("b", {
      run: one,
      // @ts-expect-error A compensation reads no later results either.
      compensate: ({ results }) => Promise.resolve(String(results.c)),
    });
  });

  it("are not seen by parallel neighbours", () => {
    draft.parallel("group", (group) =>
      group.step("a", { run: one }).step("b", {
        // @ts-expect-error Step a may not be done.
        run: ({ results }) => Promise.resolve(String(results.a)),
      }),
    );
  });

  it("of a branch may be missing after it", () => {
    draft
      .branch("way", () => "x", { x: (branch) => branch.step("a", { run: one }) })
      .step("b", {
        run: ({ results }) => {
          expectTypeOf(results.a).toEqualTypeOf<number | undefined>();
          return none();
        },
      });
  });

  it("have only the fields that the step gives", () => {
    draft.step("a", {
      run: () => Promise.resolve({ reservationId: "r" }),
      // @ts-expect-error There is no such field.
      compensate: ({ result }) => Promise.resolve(result?.orderId),
    });
    draft.step("a", {
      run: () => Promise.resolve({ reservationId: "r" }),
      // @ts-expect-error The outcome may be unknown, and the result with it.
      compensate: ({ result }) => Promise.resolve(result.reservationId),
    });
    draft.step("a", {
      run: none,
      // @ts-expect-error The step has no result.
      compensate: ({ result }) => Promise.resolve(result.reservationId),
    });
  });

  it("and input and output are what JSON carries unchanged", () => {
    draft.step("a", { run: () => Promise.resolve({} as Json) });
    draft.step("a", { run: () => Promise.resolve({ list: [{ x: 1 }], note: undefined }) });
    // @ts-expect-error A Date comes back as text.
    draft.step("a", { run: () => Promise.resolve(new Date(0)) });
    // @ts-expect-error A Date comes back as text, also deep inside.
    draft.step("a", { run: () => Promise.resolve({ list: [{ at: new Date(0) }] }) });
    // @ts-expect-error A Map comes back empty.
    draft.step("a", { local: () => Promise.resolve(new Map<string, string>()) });
    // @ts-expect-error A bigint does not go out.
    draft.step("a", { run: () => Promise.resolve({ amount: 1n }) });
    // @ts-expect-error A function does not go out.
    draft.step("a", { run: () => Promise.resolve({ again: none }) });
    // @ts-expect-error undefined in a list comes back as null.
    draft.step("a", { run: () => Promise.resolve([1, undefined]) });
    // @ts-expect-error Who knows.
    draft.step("a", { run: () => Promise.resolve({} as unknown) });
    // @ts-expect-error Binary comes back as an object of numbers.
    draft.step("a", { run: () => Promise.resolve({ image: new Uint8Array() }) });
    // @ts-expect-error A pivot's result is kept as well.
    draft.pivot("a", { run: () => Promise.resolve(new Set<string>()) });
    // @ts-expect-error The output is kept as well.
    draft.step("a", { run: none }).output(() => ({ at: new Date(0) }));
    // @ts-expect-error The input is kept as its schema leaves it.
    saga("a", { version: 1, input: z.object({ at: z.date() }) });
    saga("a", { version: 1, input: z.object({ at: z.iso.datetime() }) });
  });
});

describe("a step", () => {
  it("has exactly one action", () => {
    // @ts-expect-error It has none.
    draft.step("a", {});
    // @ts-expect-error It has two.
    draft.step("a", { run: one, local: one });
    // @ts-expect-error It has two.
    draft.step("a", { statement: text, run: none });
    // @ts-expect-error The compensation has two.
    draft.step("a", { run: none, compensate: { run: none, local: none } });
    // @ts-expect-error The compensation has none.
    draft.step("a", { run: none, compensate: { timeoutMs: 5 } });
    // @ts-expect-error There is no such option.
    draft.step("a", { run: none, timeout: 5 });
    // @ts-expect-error There is no such field of a policy.
    draft.step("a", { run: none, retry: { times: 5 } });
  });

  it("has a transaction only where it is local", () => {
    draft.step("a", {
      // @ts-expect-error No transaction is open while talking to the network.
      run: ({ tx }) => Promise.resolve(String(tx)),
    });
    draft.step("a", {
      run: none,
      // @ts-expect-error A compensation in short is of the step's kind.
      compensate: ({ tx }) => Promise.resolve(String(tx)),
    });
  });

  it("by message says what answers", () => {
    const send = (): ReturnType<typeof ReserveStock.of> => ReserveStock.of({ orderId: "o" });
    // @ts-expect-error The answer is missing.
    draft.step("a", { send });
    // @ts-expect-error Only messages have answers.
    draft.step("a", { run: none, done: StockReserved });
    // @ts-expect-error Only messages are refused by an event.
    draft.step("a", { run: none, refused: OutOfStock });
    // @ts-expect-error A command is an event with its data.
    draft.step("a", { send: () => ({ orderId: "o" }), done: StockReserved });
    // @ts-expect-error A function would say nothing of the answer to the compensation.
    draft.step("a", { send, done: StockReserved, compensate: send });
    draft.step("a", {
      send,
      done: StockReserved,
      refused: OutOfStock,
      // @ts-expect-error There is no such field in the refusal.
      reason: (data) => String(data.reservationId),
    });
  });
});

describe("the pivot", () => {
  it("is one, at the top", () => {
    // @ts-expect-error There is one already.
    decided.pivot("again", { run: none });
    draft.branch("way", () => "x", {
      // @ts-expect-error A branch has none.
      x: (branch) => branch.pivot("a", { run: none }),
    });
    draft.parallel("group", (group) => {
      // @ts-expect-error A group has none.
      void group.pivot;
      return group;
    });
  });

  it("is never undone, and nothing after it is", () => {
    // @ts-expect-error A pivot is not undone.
    draft.pivot("a", { run: none, compensate: none });
    // @ts-expect-error After the pivot nothing is undone.
    decided.step("a", { run: none, compensate: none });
    // @ts-expect-error After the pivot nothing is undone.
    decided.step("a", { run: none, compensate: { run: none } });
    // @ts-expect-error Not in a group either.
    decided.parallel("g", (group) => group.step("a", { run: none, compensate: none }));
    decided.branch("way", () => "x", {
      // @ts-expect-error Nor in a branch.
      x: (branch) => branch.step("a", { run: none, compensate: none }),
    });
  });
});

describe("a branch", () => {
  it("has the cases that its chooser answers, and no others", () => {
    const choose = ({
      input: given,
    }: {
      readonly input: { readonly amount: number };
    }): "x" | "y" => (given.amount > 1 ? "x" : "y");
    draft.branch("way", choose, { x: (branch) => branch, y: (branch) => branch });
    // @ts-expect-error A case is missing.
    draft.branch("way", choose, { x: (branch) => branch });
    draft.branch("way", () => "x", {
      x: (branch) => branch,
      // @ts-expect-error It is never chosen.
      y: (branch: unknown) => branch,
    });
    // @ts-expect-error A case goes on with the saga and does not end it.
    draft.branch("way", () => "x", { x: (branch) => branch.step("a", { run: none }).end() });
  });
});
