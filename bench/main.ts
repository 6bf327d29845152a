// Measures what the library does against targets and peers, as ratios of one run: `npm run bench -- p4 p5 --rounds 3`.
import { availableParallelism, cpus } from "node:os";
import { measureHotProduct } from "./cases/hot-product.ts";
import { measurePlainSagas } from "./cases/p1-plain-sagas.ts";
import { measureLocks } from "./cases/locks.ts";
import { measureHeldXmin } from "./cases/p10-held-xmin.ts";
import { measureGrowth } from "./cases/p11-growth.ts";
import { measureRecovery } from "./cases/p12-recovery.ts";
import { measureWaiting } from "./cases/p14-waiting.ts";
import { measureCompensatedSagas } from "./cases/p2-compensated-sagas.ts";
import { measureTransactionalSagas } from "./cases/p3-transactional-sagas.ts";
import { measureWrites } from "./cases/p4-write.ts";
import { measureDrain } from "./cases/p5-drain.ts";
import { measureKafka } from "./cases/p6-kafka.ts";
import { measureConsume } from "./cases/p7-consume.ts";
import { measureLatency } from "./cases/p8-latency.ts";
import { measureRedisConsume } from "./cases/redis-consume.ts";
import { measureRedisDrain } from "./cases/redis-drain.ts";
import { measureRedisLatency } from "./cases/redis-latency.ts";
import { measureKeyedRequests } from "./cases/p9-keyed-requests.ts";
import { measureWal } from "./cases/wal.ts";
import type { BenchCase } from "./context.ts";
import { Servers } from "./database.ts";
import type { Figure } from "./figure.ts";
import { readOptions, usage } from "./options.ts";
import type { BenchOptions, CaseName } from "./options.ts";
import { formatTable } from "./table.ts";

const cases: Readonly<Record<CaseName, BenchCase>> = {
  p1: measurePlainSagas,
  p2: measureCompensatedSagas,
  p3: measureTransactionalSagas,
  p4: measureWrites,
  p5: measureDrain,
  p6: measureKafka,
  p7: measureConsume,
  p8: measureLatency,
  p9: measureKeyedRequests,
  p10: measureHeldXmin,
  p11: measureGrowth,
  p12: measureRecovery,
  p14: measureWaiting,
  wal: measureWal,
  "redis-p5": measureRedisDrain,
  "redis-p7": measureRedisConsume,
  "redis-p8": measureRedisLatency,
  locks: measureLocks,
  hot: measureHotProduct,
};

const servers = new Servers();
let exitCode: number | undefined;

// Not once: npm hands on the signal that the terminal has sent already, and the second would end us at once.
process.on("SIGINT", () => void end(130));
process.on("SIGTERM", () => void end(143));
// A peer that fails beside the measurement ends the run as well; nothing may be left behind.
process.on("uncaughtException", (error) => void fail(error));

try {
  const options = readOptions(process.argv.slice(2));
  const { figures, failed } = await measure(options);
  print(options, figures);
  await end(failed.length === 0 ? 0 : 1);
} catch (error) {
  await fail(error);
}

/** Case by case; what one that fails has measured is lost, what the others measure is not. */
async function measure(
  options: BenchOptions,
): Promise<{ figures: readonly Figure[]; failed: readonly CaseName[] }> {
  const startedAt = performance.now();
  const progress = (line: string): void => {
    if (exitCode !== undefined) return;
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0).padStart(5);
    process.stderr.write(`${seconds} s  ${line}\n`);
  };
  progress("starting PostgreSQL");
  const server = await servers.start();
  const figures: Figure[] = [];
  const failed: CaseName[] = [];
  for (const name of options.cases) {
    try {
      figures.push(...(await cases[name]({ options, server, servers, progress })));
    } catch (error) {
      if (servers.isClosed) throw error;
      failed.push(name);
      console.error(error);
      progress(`${name.toUpperCase()} failed`);
    }
  }
  return { figures, failed };
}

function print(options: BenchOptions, figures: readonly Figure[]): void {
  const machine = {
    at: new Date().toISOString(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    node: process.version,
  };
  if (options.isJson) {
    console.log(JSON.stringify({ machine, options, figures }, undefined, 2));
    return;
  }
  console.log(formatTable(figures));
  console.log(
    `\n${machine.at}, ${machine.cores} cores (${machine.processor}), Node ${machine.node}`,
  );
}

async function fail(error: unknown): Promise<void> {
  // What fails because everything is being stopped is no news.
  if (exitCode !== undefined) return;
  // Nothing was started: it is the command line.
  if (servers.isUnused) console.error(`${describe(error)}\n\n${usage()}`);
  else console.error(error);
  await end(1);
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Stops the servers, removes their files and ends the process, whatever else is under way. */
async function end(code: number): Promise<void> {
  if (exitCode !== undefined) return;
  exitCode = code;
  await servers[Symbol.asyncDispose]().catch((error: unknown) => {
    console.error(error);
    exitCode = 1;
  });
  process.exit(exitCode);
}
