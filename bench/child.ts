import { fork } from "node:child_process";
import type { Serializable } from "node:child_process";
import { once } from "node:events";

/** What is asked may take this long; nothing takes longer on any machine. */
const answerWithinMs = 600_000;

/** A process of its own that answers one question after the other. It ends with its parent. */
export interface Child<Request, Answer> extends AsyncDisposable {
  /** Throws when the process ends instead of answering. */
  ask(request: Request): Promise<Answer>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
}

/** Starts a module, which must call {@link answerParent}. What it writes to stderr is seen. */
export function forkChild<Request extends Serializable, Answer>(
  module: URL,
  nodeOptions: readonly string[] = [],
): Child<Request, Answer> {
  const child = fork(module, { execArgv: ["--conditions=dure-source", ...nodeOptions] });
  const ended = once(child, "exit").then(() => {
    throw new Error(`the process of ${module.pathname} ended`);
  });
  ended.catch(() => undefined);
  const gone = (): Promise<unknown> => ended.catch(() => undefined);
  return {
    async ask(request) {
      const signal = AbortSignal.timeout(answerWithinMs);
      const answered = once(child, "message", { signal });
      child.send(request);
      const [answer] = (await Promise.race([answered, ended])) as [Answer];
      return answer;
    },
    async kill() {
      child.kill("SIGKILL");
      await gone();
    },
    async [Symbol.asyncDispose]() {
      if (child.connected) child.disconnect();
      await gone();
    },
  };
}

/** The child's side: answers each request of the parent, and ends when it cannot. */
export function answerParent<Request, Answer extends Serializable>(
  answer: (request: Request) => Promise<Answer>,
): void {
  // Ctrl-C goes to both processes; this one ends with its parent.
  process.on("SIGINT", () => undefined);
  process.on("disconnect", () => process.exit(0));
  process.on("message", (request: Request) => {
    answer(request).then(
      (said) => process.send?.(said),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
}
