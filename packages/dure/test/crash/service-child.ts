/** A service in a process of its own that dies or freezes at a chosen point. Its plan comes as JSON in DURE_CHILD_PLAN. */
import { writeSync } from "node:fs";
import pg from "pg";
import { event, type FaultPoint, type Transport } from "../../src/index.ts";
import type { EventLog } from "../../src/postgres/index.ts";
import {
  createTestService,
  handleInto,
  type Step,
  stepSchema,
  stepTaken,
} from "../integration/service-fixture.ts";
import { walOf, type WalKind } from "../support/wal-options.ts";
import { type Around, wrapPool } from "../support/wrap-pool.ts";

/** What the child does. */
export interface ChildPlan {
  readonly url: string;
  readonly relays?: boolean;
  /** Its relay reads the write-ahead log. */
  readonly wal?: WalKind | undefined;
  /** Of its relay. @defaultValue 5 */
  readonly batchSizeMax?: number;
  readonly handles?: boolean;
  /**
   * Signals itself at this hit of the point. `transport.publish` is past the last look at the lease; a statement is
   * named by the comment that it begins with, or by its first word.
   */
  readonly fault?: {
    readonly point: FaultPoint | "transport.publish" | `${"before" | "after"} ${string}`;
    readonly hit: number;
    readonly signal: "SIGKILL" | "SIGSTOP";
  };
  /** Reports the name of each statement that it runs, once. */
  readonly saysStatements?: boolean;
  readonly idleInTransactionMsMax?: number;
  /** Its handler kills the process with a step of this key. */
  readonly diesOfKey?: string;
  /** Only this step of the key does. */
  readonly diesOfNumber?: number;
  /** Emits so many steps of a key, with a business row each, and then ends. */
  readonly emits?: { readonly key: string; readonly count: number };
}

const plan = JSON.parse(process.env["DURE_CHILD_PLAN"] ?? "{}") as ChildPlan;
const echoed = event("echo.heard", {
  version: 1,
  schema: stepSchema,
  key: (data: Step) => data.key,
});
const report = (message: object): void => void writeSync(1, `${JSON.stringify(message)}\n`);

let hits = 0;
function hit(point: string): void {
  if (plan.fault?.point !== point) return;
  hits += 1;
  if (hits !== plan.fault.hit) return;
  report({ hit: point });
  process.kill(process.pid, plan.fault.signal);
}

function faulty(log: EventLog): Transport {
  return {
    ...log,
    publish(messages, options) {
      hit("transport.publish");
      return log.publish(messages, options);
    },
  };
}

const statements = new Set<string>();

const around: Around = async (text, run) => {
  const name = /^(?:\/\* )?([\w:.-]+)/.exec(text.trim())?.[1] ?? text;
  if (plan.saysStatements === true && !statements.has(name)) report({ statement: name });
  statements.add(name);
  hit(`before ${name}`);
  const result = await run();
  hit(`after ${name}`);
  return result;
};

const plainPool = new pg.Pool({ connectionString: plan.url, max: 10, application_name: "child" });
plainPool.on("error", () => {});
// Only where statements are watched: a wrapped client sends them one by one.
const isWatched = plan.saysStatements === true || plan.fault?.point.includes(" ") === true;
const pool = isWatched ? wrapPool(plainPool, { alone: around, onClient: around }) : plainPool;
const { dure, logs } = createTestService({
  pool,
  wrap: faulty,
  faults: { hit },
  relay:
    plan.relays === true
      ? { leaseMs: 1_000, pollMsMax: 50, batchSizeMax: plan.batchSizeMax ?? 5 }
      : false,
  consumer: { pollMsMax: 50, batchSizeMax: 4 },
  wal: walOf(plan.wal, plan.url),
  ...(plan.idleInTransactionMsMax !== undefined && {
    idleInTransactionMsMax: plan.idleInTransactionMsMax,
  }),
});
const push = logs.push.bind(logs);
logs.push = (...lines) => {
  for (const line of lines) report({ log: line.message, ...line.facts });
  return push(...lines);
};
if (plan.handles === true) {
  const record = handleInto("steps");
  dure.on(stepTaken, {}, async (message, tx) => {
    const { key, n } = message.data;
    if (key === plan.diesOfKey && n === (plan.diesOfNumber ?? n)) {
      process.kill(process.pid, "SIGKILL");
    }
    await record(message, tx);
    tx.emit(echoed, message.data);
  });
}
await dure.start();
report({ event: "started" });
if (plan.emits !== undefined) {
  const { key, count } = plan.emits;
  for (let n = 1; n <= count; n += 1) {
    await dure.transaction(async (tx) => {
      await tx.query("insert into handled (consumer, key, n) values ('business', $1, $2)", [
        key,
        n,
      ]);
      tx.emit(stepTaken, { key, n });
    });
  }
}
