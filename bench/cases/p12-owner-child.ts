// A process that runs the sagas of P12: one holds them until it is killed, one takes them over.
import { Pool } from "pg";
import { answerParent } from "../child.ts";
import { poolSize } from "../database.ts";
import { sagaEngine } from "../sagas.ts";
import type { SagaLoad } from "../sagas.ts";
import type { OwnerAnswer, OwnerRequest } from "./p12-recovery.ts";

/** Starts under way at once: more than a batch holds. */
const startsAtOnce = 500;

answerParent<OwnerRequest, OwnerAnswer>(async (request) => {
  switch (request.kind) {
    case "hold": {
      const sagas = await open(request.url, true);
      await startMany(sagas, request.total);
      return { kind: "held", inSecondStep: sagas.heldCount };
    }
    case "takeOver":
      await open(request.url, false);
      return { kind: "started" };
    case "report":
      // The kernel counts kilobytes.
      return { kind: "report", rssMbMax: process.resourceUsage().maxRSS / 1_024 };
  }
});

async function open(url: string, isHeld: boolean): Promise<SagaLoad> {
  const pool = new Pool({ connectionString: url, max: poolSize });
  pool.on("error", () => undefined);
  const sagas = await sagaEngine.open(pool, { isHeld });
  await sagas.start();
  return sagas;
}

async function startMany(sagas: SagaLoad, total: number): Promise<void> {
  let next = 0;
  const startUntilAll = async (): Promise<void> => {
    while (next < total) {
      next += 1;
      await sagas.startHeld(`held-${next}`);
    }
  };
  await Promise.all(Array.from({ length: startsAtOnce }, startUntilAll));
}
