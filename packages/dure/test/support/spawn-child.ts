import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { waitFor, within } from "./wait-for.ts";

const pinnedNode: string = fileURLToPath(
  new URL("../../../../node_modules/.bin/node", import.meta.url),
);
const LINES_MAX = 100_000;
const STDERR_CHARS_MAX = 64_000;

/** How a child is run. */
export interface SpawnChildOptions {
  readonly args?: readonly string[];
  /** Added to this process's own environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  /** Gives it a process group of its own, to which `killGroup` sends, as a terminal does. */
  readonly detached?: boolean;
  /** Another program than the pinned Node. */
  readonly node?: string;
  /** It is killed after this time whatever it does. @defaultValue 120 000 */
  readonly lifeMsMax?: number;
}

/** How a child ended. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A child process of a test. Disposing kills it. */
export interface SpawnedChild {
  readonly pid: number;
  /** Every line of its standard output so far. */
  readonly lines: readonly string[];
  /** The lines that are JSON, parsed: children report with `console.log(JSON.stringify(…))`. */
  readonly messages: readonly unknown[];
  readonly exited: Promise<ChildExit>;
  stderr(): string;
  /** Writes one line to its standard input. */
  send(line: string): void;
  kill(signal: NodeJS.Signals): void;
  /** Sends to its whole group; only for a detached child. */
  killGroup(signal: NodeJS.Signals): void;
  /** Resolves with the first line, past or future, that contains the text or matches. */
  waitForLine(
    wanted: string | RegExp | ((line: string) => boolean),
    options?: { readonly timeoutMs?: number },
  ): Promise<string>;
  /** Resolves with the first JSON message, past or future, that the predicate accepts. */
  waitForMessage<Message>(
    predicate: (message: unknown) => message is Message,
    options?: { readonly timeoutMs?: number },
  ): Promise<Message>;
  /** Resolves when it has ended; fails when it has not after `timeoutMs` (default 10 s). */
  waitForExit(options?: { readonly timeoutMs?: number }): Promise<ChildExit>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Whether a value is an object with this key, and the value there of the wanted type. */
export function hasField<Key extends string>(
  key: Key,
): (message: unknown) => message is Record<Key, string> & Record<string, unknown> {
  return (message): message is Record<Key, string> & Record<string, unknown> =>
    typeof message === "object" && message !== null && key in message;
}

/** Runs a `.ts` file under the pinned Node against the library's sources. */
export function spawnChild(
  file: string | URL,
  { args = [], env, node = pinnedNode, lifeMsMax = 120_000, ...rest }: SpawnChildOptions = {},
): SpawnedChild {
  const path = file instanceof URL ? fileURLToPath(file) : file;
  const child = spawn(node, ["--conditions=dure-source", path, ...args], {
    ...rest,
    env: { ...process.env, NODE_OPTIONS: "", ...env },
    stdio: ["pipe", "pipe", "pipe"],
    timeout: lifeMsMax,
    killSignal: "SIGKILL",
  });
  const { exited, output } = watch(child);
  const describeChild = () =>
    `${path} (pid ${child.pid})\nlast lines: ${output.lines.slice(-10).join("\n")}\nstderr: ${output.stderr.slice(-4000)}`;
  const find = async <Found>(
    search: () => Found | undefined,
    what: string,
    timeoutMs = 15_000,
  ): Promise<Found> => {
    try {
      const found = await waitFor(
        () => {
          const value = search();
          if (value !== undefined) return { value };
          if (output.hasEnded) throw new Error(`the child ended before ${what}`);
          return undefined;
        },
        { what, timeoutMs, intervalMs: 5 },
      );
      return found.value;
    } catch (cause) {
      throw new Error(`${String(cause)}: ${describeChild()}`, { cause });
    }
  };
  return {
    pid: child.pid ?? 0,
    lines: output.lines,
    messages: output.messages,
    exited,
    stderr: () => output.stderr,
    send: (line) => void child.stdin.write(`${line}\n`),
    kill: (signal) => void child.kill(signal),
    killGroup: (signal) => void process.kill(-(child.pid ?? 0), signal),
    waitForLine: (wanted, options) =>
      find(
        () => output.lines.find(lineTest(wanted)),
        `the line ${String(wanted)}`,
        options?.timeoutMs,
      ),
    waitForMessage: (predicate, options) =>
      find(() => output.messages.find(predicate), "a message", options?.timeoutMs),
    waitForExit: async (options) => {
      try {
        return await within(exited, { what: "the child's exit", ...options });
      } catch (cause) {
        throw new Error(`${String(cause)}: ${describeChild()}`, { cause });
      }
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

interface Output {
  lines: string[];
  messages: unknown[];
  stderr: string;
  hasEnded: boolean;
}

function watch(child: ChildProcess): { exited: Promise<ChildExit>; output: Output } {
  const output: Output = { lines: [], messages: [], stderr: "", hasEnded: false };
  const killWithUs = () => void child.kill("SIGKILL");
  process.once("exit", killWithUs);
  const exited = new Promise<ChildExit>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      output.hasEnded = true;
      process.off("exit", killWithUs);
      resolve({ code, signal });
    });
  });
  exited.catch(() => (output.hasEnded = true)); // seen by whoever waits; a spawn error is no crash
  child.stdin?.on("error", () => {}); // a killed child reads no more
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    output.stderr = (output.stderr + text).slice(-STDERR_CHARS_MAX);
  });
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (output.lines.length >= LINES_MAX) {
        child.kill("SIGKILL");
        return;
      }
      output.lines.push(line);
      try {
        output.messages.push(JSON.parse(line));
      } catch {
        // an ordinary line, kept above
      }
    });
  }
  return { exited, output };
}

function lineTest(wanted: string | RegExp | ((line: string) => boolean)) {
  if (typeof wanted === "function") return wanted;
  return (line: string) => (typeof wanted === "string" ? line.includes(wanted) : wanted.test(line));
}
