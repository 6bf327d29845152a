import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { settledWithin } from "../core/abort.ts";
import type { SeenPoint } from "./crash-point.ts";
import {
  planVariable,
  type ProcessMessage,
  type ProcessPlan,
  reportDescriptor,
} from "./process-plan.ts";

const OUTPUT_CHARS_MAX = 4_000;
const CLOSE_MS_MAX = 2_000;

/** How the explorer's processes are run. */
export interface ProcessSettings {
  readonly env: Readonly<Record<string, string>>;
  readonly execArgv: readonly string[];
  readonly msMax: number;
  readonly signal: AbortSignal;
}

/** How one of them ended, and what it told before. */
export interface ProcessOutcome {
  readonly end: "finished" | "failed" | "timed-out";
  readonly points: readonly SeenPoint[];
  /** Its fault happened. */
  readonly isHit: boolean;
  /** How often the scenario came by the name of its fault, if it ended by itself. */
  readonly cameBy: number;
  readonly settled: Extract<ProcessMessage, { kind: "settled" }> | undefined;
  /** Of a process that failed: its error, or its last words. */
  readonly detail: string;
}

/**
 * Runs one process to its end, which it finds by itself, at a fault, or at the limit. Never rejects but for an
 * abort, with the signal's reason; the process is gone then too.
 */
export async function runProcess(
  plan: ProcessPlan,
  { env, execArgv, msMax, signal }: ProcessSettings,
): Promise<ProcessOutcome> {
  signal.throwIfAborted();
  const child = spawn(process.execPath, [...execArgv, fileURLToPath(programUrl())], {
    env: { ...process.env, ...env, [planVariable]: JSON.stringify(plan) },
    stdio: ["pipe", "pipe", "pipe", "pipe"],
    timeout: msMax,
    killSignal: "SIGKILL",
  });
  const kill = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  try {
    const { messages, output, wasKilled } = await watch(child);
    signal.throwIfAborted();
    return outcomeOf(messages, { output, wasKilled, msMax });
  } finally {
    signal.removeEventListener("abort", kill);
  }
}

interface Watched {
  readonly messages: readonly ProcessMessage[];
  readonly output: string;
  /** By our limit, if not by its fault. */
  readonly wasKilled: boolean;
}

async function watch(child: ChildProcess): Promise<Watched> {
  const messages: ProcessMessage[] = [];
  let output = "";
  const keep = (text: string): void => {
    output = (output + text).slice(-OUTPUT_CHARS_MAX);
  };
  child.stdin?.on("error", () => undefined); // it is never written to; a dead child resets it
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", keep);
  const channel = child.stdio[reportDescriptor] as Readable;
  createInterface({ input: channel }).on("line", (line) => {
    // Only our own program writes here, whole lines at once.
    messages.push(JSON.parse(line) as ProcessMessage);
  });
  const closed = once(child, "close");
  closed.catch(() => undefined); // a program that cannot be started is told of below
  const wasKilled = await new Promise<boolean>((resolve) => {
    child.once("error", (error) => {
      keep(String(error));
      resolve(false);
    });
    child.once("exit", () => resolve(child.killed));
  });
  // What it wrote may still be on its way; a process that it started itself may hold its output open for ever.
  await settledWithin(closed, CLOSE_MS_MAX);
  return { messages, output, wasKilled };
}

function outcomeOf(
  messages: readonly ProcessMessage[],
  { output, wasKilled, msMax }: Omit<Watched, "messages"> & { readonly msMax: number },
): ProcessOutcome {
  const failure = messages.find((message) => message.kind === "failed");
  const settled = messages.find((message) => message.kind === "settled");
  const done = messages.find((message) => message.kind === "done");
  const isFinished = settled !== undefined || done !== undefined;
  const lastWords = output.trim() === "" ? "" : `; its last words:\n${output.trim()}`;
  const late = `it was not done after ${msMax} ms${lastWords}`;
  return {
    end: isFinished ? "finished" : wasKilled ? "timed-out" : "failed",
    points: messages.flatMap((message) => (message.kind === "point" ? [seenOf(message)] : [])),
    isHit: messages.some(({ kind }) => kind === "hit"),
    cameBy: done?.cameBy ?? 0,
    settled,
    detail: failure?.error ?? (wasKilled ? late : `its process ended early${lastWords}`),
  };
}

function seenOf({ name, occurrence, when }: SeenPoint): SeenPoint {
  return { name, occurrence, when };
}

/** Beside this file, in the sources and in what is published. */
function programUrl(): URL {
  const isSource = import.meta.url.endsWith(".ts");
  return new URL(isSource ? "./scenario-process.ts" : "./scenario-process.js", import.meta.url);
}
