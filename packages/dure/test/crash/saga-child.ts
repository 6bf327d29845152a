/** A process that starts sagas, drives them, and freezes at a chosen point. Its plan comes as JSON in DURE_CHILD_PLAN. */
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import pg from "pg";
import { createTestService } from "../integration/service-fixture.ts";
import { type Around, wrapPool } from "../support/wrap-pool.ts";
import { defineWork } from "./saga-work.ts";

/** What the child does. */
export interface SagaChildPlan {
  readonly url: string;
  /** How many sagas it starts; each fifth is to be undone. */
  readonly sagaCount: number;
  /** Where it freezes, once all are started: at a call, or at a statement named by its comment or first word. */
  readonly freezesAt?: string;
  /** The how-manieth time it comes by. @defaultValue 1 */
  readonly hit?: number;
}

const plan = JSON.parse(process.env["DURE_CHILD_PLAN"] ?? "{}") as SagaChildPlan;
const report = (message: object): void => void writeSync(1, `${JSON.stringify(message)}\n`);

let isArmed = false;
let hits = 0;
function hit(point: string): void {
  if (!isArmed || plan.freezesAt !== point) return;
  hits += 1;
  if (hits !== (plan.hit ?? 1)) return;
  report({ hit: point });
  process.kill(process.pid, "SIGSTOP");
}

const around: Around = async (text, run) => {
  const name = /^(?:\/\* )?([\w:.-]+)/.exec(text.trim())?.[1] ?? text;
  hit(`before ${name}`);
  const result = await run();
  hit(`after ${name}`);
  return result;
};

function openPool(): pg.Pool {
  const pool = new pg.Pool({ connectionString: plan.url, max: 10, application_name: "child" });
  pool.on("error", () => {});
  return pool;
}

const definition = defineWork({ participant: openPool(), hit });
const { dure, logs } = createTestService({
  pool: wrapPool(openPool(), { alone: around, onClient: around }),
  relay: false,
  sagas: { definitions: [definition], leaseMs: 2_000, pollMs: 20 },
});
const push = logs.push.bind(logs);
logs.push = (...lines) => {
  for (const line of lines) report({ log: line.message, ...line.facts });
  return push(...lines);
};
await dure.start();
await Promise.all(
  Array.from({ length: plan.sagaCount }, (_, index) => {
    const id = `S-${index}`;
    return dure.sagas.start(definition, { id, isRefused: index % 5 === 0 }, { id });
  }),
);
isArmed = true;
report({ event: "started" });
// Each line is the id of one more saga.
for await (const id of createInterface({ input: process.stdin })) {
  const run = await dure.sagas.start(definition, { id, isRefused: false }, { id });
  const { kind } = await run.outcome();
  report({ outcome: kind, id });
}
