import { readFileSync } from "node:fs";

/** Processor time per piece of work, in microseconds: of this process, and of PostgreSQL. */
export interface CpuCost {
  readonly node: number;
  readonly postgres: number;
}

/**
 * Adds up the processor time that named work takes, here and in the server's processes. On a machine that
 * is shared it says more than a rate: what others take slows the clock down, not the work. Linux only,
 * by `/proc`; elsewhere there are no costs.
 */
export class CpuMeter {
  readonly #serverPid: number;
  readonly #sums: Map<string, { node: number; postgres: number; count: number }> = new Map();

  constructor(serverPid: number) {
    this.#serverPid = serverPid;
  }

  /** Counts what passes while the work runs, which resolves to how often it was done. */
  async measure(name: string, work: () => Promise<number>): Promise<void> {
    const before = this.#now();
    const count = await work();
    const after = this.#now();
    if (before === undefined || after === undefined) return;
    const sum = this.#sums.get(name) ?? { node: 0, postgres: 0, count: 0 };
    sum.node += after.node - before.node;
    // What has ended in between counts as nothing; connections stay open for a whole case.
    for (const [pid, spent] of after.postgres) {
      sum.postgres += spent - (before.postgres.get(pid) ?? 0);
    }
    sum.count += count;
    this.#sums.set(name, sum);
  }

  /** Hands over what was added up since the last time, by name. */
  take(): ReadonlyMap<string, CpuCost> {
    const costs = new Map(
      [...this.#sums].map(([name, { node, postgres, count }]) => [
        name,
        { node: node / count, postgres: postgres / count },
      ]),
    );
    this.#sums.clear();
    return costs;
  }

  /** What has been spent so far, in microseconds, of the server by process. */
  #now(): { node: number; postgres: ReadonlyMap<string, number> } | undefined {
    const pid = this.#serverPid;
    const children = read(`/proc/${pid}/task/${pid}/children`)?.trim().split(" ");
    if (children === undefined) return undefined;
    const { user, system } = process.cpuUsage();
    const postgres = [String(pid), ...children].map((child) => [child, spentBy(child)] as const);
    return { node: user + system, postgres: new Map(postgres) };
  }
}

/** The kernel counts nanoseconds; 0 for a process that has just ended. */
function spentBy(pid: string): number {
  return Number(read(`/proc/${pid}/schedstat`)?.split(" ")[0] ?? 0) / 1_000;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
