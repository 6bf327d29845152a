/** Scenarios of which nothing can be learnt, and one that hangs when an answer is lost. `WRONG` says which. */
import { randomUUID } from "node:crypto";
import type { Invariant, Scene } from "../../../src/explorer/index.ts";

const wrong = process.env["WRONG"];

export function prepare(): void {
  if (wrong === "prepare") throw new Error("no tables");
}

export async function scenario({ point }: Scene): Promise<void> {
  if (wrong === "scenario") throw new Error("no stock");
  if (wrong === "death") process.kill(process.pid, "SIGKILL");
  if (wrong === "idle") return;
  const asked = point("asked", () => "answer");
  await (wrong === "hangs"
    ? asked.catch(() => new Promise(() => setInterval(() => {}, 60_000)))
    : asked);
}

export function recover(): void {
  if (wrong === "recover") throw new Error("no way back");
}

export function observe(): unknown {
  return wrong === "observe" ? { id: randomUUID() } : { id: "o-1" };
}

const alwaysTrue: Invariant = () => (wrong === "invariant" ? ["it is not"] : []);

export const invariants: Readonly<Record<string, Invariant>> = { alwaysTrue };
