/** A saga in memory makes each attempt that its journal holds once, whenever its answer comes. */
import { expect, it } from "vitest";
import { z } from "zod";
import { saga } from "./saga-builder.ts";
import { plansOf } from "./saga-plans.ts";
import { SagaRun } from "./saga-run.ts";
import type { RunHost } from "./saga-run.ts";
import { initialState } from "./saga-state.ts";

it("does not make an attempt again whose answer came while another entry was being written", async () => {
  const definition = saga("two", { version: 1, input: z.object({}) })
    .step("only", { run: async () => undefined, compensate: async () => undefined })
    .end();
  const [plan] = plansOf([definition]).values();
  if (plan === undefined) throw new Error("there is no plan");
  const attempts: string[] = [];
  const writing: PromiseWithResolvers<boolean>[] = [];
  const host: RunHost = {
    moment: () => ({ now: 1_000, random: () => 0.5 }),
    append() {
      const written = Promise.withResolvers<boolean>();
      writing.push(written);
      return written.promise;
    },
    attempt: (_run, step) => void attempts.push(step.plan.name),
    announce: () => [],
    released: () => undefined,
    outdated: () => undefined,
    callBack: () => undefined,
    isStopping: false,
  };
  const run = new SagaRun(host, {
    sagaId: "S",
    plan,
    state: initialState({}),
    n: 0,
    traceparent: undefined,
    deadlineAt: undefined,
  });
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  run.deliver([]);
  writing[0]?.resolve(true);
  await turn();
  expect(attempts).toEqual(["only"]);
  const step = run.state.steps.get("only");
  if (step === undefined) throw new Error("the step has not begun");
  run.receive({
    id: 1,
    body: { kind: "command", command: "retry", actor: "ada", why: "nothing to retry" },
  });
  run.settle(step, false, { kind: "done" });
  writing[1]?.resolve(true);
  await turn();
  expect(attempts).toEqual(["only"]);
  writing[2]?.resolve(true);
  await turn();
  expect(run.state.status).toBe("COMPLETED");
});
