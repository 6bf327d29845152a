import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { ServiceConfig } from "../chassis/config.ts";
import type { FromService, ToService } from "./process-messages.ts";

/** What {@link superviseProcess} needs to know. */
export interface SupervisedProcessOptions {
  readonly config: ServiceConfig;
  /** 1 is the one that peers reach. */
  readonly instance: number;
  /** One line whenever something happened that somebody may want to know. */
  readonly log: (line: string) => void;
  /** Called when a process has begun or ended. */
  readonly onChange: () => void;
}

/** One instance of a service: a process, and the next one when it dies. */
export interface SupervisedProcess {
  readonly config: ServiceConfig;
  readonly instance: number;
  /** The process that runs at the moment. */
  readonly pid: number | undefined;
  /** Resolves when the first process is ready; rejects when it ends before that. */
  readonly started: Promise<void>;
  /** Lets the process finish; after the limit it is killed. No other one follows. */
  stop(withinMs: number): Promise<void>;
  kill(): void;
}

/** How long to wait before the next try; short at first, since most deaths are single. */
export function restartDelayMs(failureCount: number): number {
  return Math.min(5000, 200 * 2 ** Math.max(0, Math.min(failureCount - 1, 10)));
}

const program = fileURLToPath(new URL("service-process.ts", import.meta.url));
/** A process that lived so long has not failed at its start. */
const settledMs = 10_000;

/** Keeps a service's process running until it is told to stop. */
export function superviseProcess(options: SupervisedProcessOptions): SupervisedProcess {
  const supervisor = new Supervisor(options);
  supervisor.begin();
  return supervisor;
}

class Supervisor implements SupervisedProcess {
  readonly config: ServiceConfig;
  readonly instance: number;
  readonly started: Promise<void>;
  readonly #options: SupervisedProcessOptions;
  readonly #label: string;
  readonly #firstReady = Promise.withResolvers<void>();
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #restart: NodeJS.Timeout | undefined;
  #isStopping = false;
  #failureCount = 0;

  constructor(options: SupervisedProcessOptions) {
    this.#options = options;
    this.config = options.config;
    this.instance = options.instance;
    this.#label = `${options.config.name}#${options.instance}`;
    this.started = this.#firstReady.promise;
    this.started.catch(() => undefined); // whoever waits for it is told as well
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  begin(): void {
    const beganAt = performance.now();
    const child = forkService(this.#label);
    this.#child = child;
    const exited = Promise.withResolvers<void>();
    this.#exited = exited.promise;
    let reason = "";
    child.on("message", (message: FromService) => {
      if (message.kind === "failed") reason = message.reason;
      else this.#ready(child);
    });
    // A process that could not be made reports `error`, and then no `exit`.
    child.on("error", (error) => (reason ||= error.message));
    child.once("close", (code, signal) => {
      this.#child = undefined;
      this.#ended(child, reason || (signal ?? `exit code ${code}`), performance.now() - beganAt);
      exited.resolve();
    });
    send(child, { kind: "start", config: this.config });
    this.#options.onChange();
  }

  async stop(withinMs: number): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === undefined) return;
    send(child, { kind: "stop" });
    const limit = setTimeout(() => child.kill("SIGKILL"), withinMs);
    await this.#exited;
    clearTimeout(limit);
  }

  kill(): void {
    this.#isStopping = true;
    clearTimeout(this.#restart);
    this.#child?.kill("SIGKILL");
  }

  #ready(child: ChildProcess): void {
    this.#firstReady.resolve();
    if (this.#failureCount > 0) this.#options.log(`${this.#label} is back, pid ${child.pid}`);
  }

  #ended(child: ChildProcess, how: string, livedMs: number): void {
    this.#options.onChange();
    this.#firstReady.reject(new Error(`${this.#label} ended before it was ready: ${how}`));
    if (this.#isStopping) return;
    this.#failureCount = livedMs > settledMs ? 1 : this.#failureCount + 1;
    const delayMs = restartDelayMs(this.#failureCount);
    const what = `${this.#label}, pid ${child.pid}, ended (${how})`;
    this.#options.log(`${what}; starting it again in ${delayMs} ms`);
    this.#restart = setTimeout(() => this.begin(), delayMs);
  }
}

function forkService(label: string): ChildProcess {
  return fork(program, [label], {
    execArgv: ["--conditions=dure-source"],
    // Logs of services go to standard error, all of them: standard output is for people.
    stdio: ["ignore", 2, 2, "ipc"],
  });
}

function send(child: ChildProcess, message: ToService): void {
  // A process that has just died cannot be told anything; its end is reported by itself.
  if (child.connected) child.send(message, () => undefined);
}
