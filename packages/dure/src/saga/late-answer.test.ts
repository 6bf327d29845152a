/** A saga in memory makes each attempt that its journal holds once, whenever its answer comes. */
import { expect, it } from "vitest";
import { z } from "zod";
import { saga } from "./saga-builder.ts";
import type { AnySagaDefinition } from "./saga-definition.ts";
import { plansOf } from "./saga-plans.ts";
import { SagaRun } from "./saga-run.ts";
import type { RunHost } from "./saga-run.ts";
import { initialState } from "./saga-state.ts";
import type { StepState } from "./saga-state.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function driven(definition: AnySagaDefinition) {
  const [plan] = plansOf([definition]).values();
  if (plan === undefined) throw new Error("there is no plan");
  const attempts: string[] = [];
  const writing: PromiseWithResolvers<boolean>[] = [];
  let now = 1_000;
  const host: RunHost = {
    moment: () => ({ now, random: () => 0.5 }),
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
  const written = async (index: number): Promise<void> => {
    writing[index]?.resolve(true);
    await turn();
  };
  const stepOf = (name: string): StepState => {
    const step = run.state.steps.get(name);
    if (step === undefined) throw new Error(`step ${name} has not begun`);
    return step;
  };
  const passTime = (): void => {
    now += 60_000;
    run.look();
  };
  return { run, attempts, written, stepOf, passTime };
}

it("does not make an attempt again whose answer came while another entry was being written", async () => {
  const definition = saga("two", { version: 1, input: z.object({}) })
    .step("only", { run: async () => undefined, compensate: async () => undefined })
    .end();
  const { run, attempts, written, stepOf } = driven(definition);
  run.deliver([]);
  await written(0);
  expect(attempts).toEqual(["only"]);
  const step = stepOf("only");
  run.receive({
    id: 1,
    body: { kind: "command", command: "retry", actor: "ada", why: "nothing to retry" },
  });
  run.settle(step, false, { kind: "done" });
  await written(1);
  expect(attempts).toEqual(["only"]);
  await written(2);
  expect(run.state.status).toBe("COMPLETED");
});

it("makes the next attempt of a step that failed while the transaction of another was lost", async () => {
  const steps = { compensate: async () => undefined };
  const definition = saga("beside", { version: 1, input: z.object({}) })
    .parallel("both", (group) =>
      group
        .step("called", { run: async () => undefined, ...steps })
        .step("written", { local: async () => undefined, ...steps }),
    )
    .end();
  const { run, attempts, written, stepOf, passTime } = driven(definition);
  run.deliver([]);
  await written(0);
  expect(attempts).toEqual(["called", "written"]);
  const lost = { kind: "failed", code: "LOST", error: "lost" } as const;
  const ofOwn = stepOf("written");
  const writing = run.writeWith(ofOwn, false, { kind: "done" }, () => {
    run.settle(stepOf("called"), false, { ...lost, isUnknown: true });
    return Promise.reject(new Error("the connection was lost"));
  });
  await expect(writing).rejects.toThrow("the connection was lost");
  run.settle(ofOwn, false, { ...lost, isUnknown: false });
  await written(1);
  passTime();
  await written(2);
  expect(attempts.toSorted()).toEqual(["called", "called", "written", "written"]);
});
