import type { BenchCase } from "../context.ts";
import { measureContests } from "../saga-contest.ts";

/** P2: sagas whose third of four steps fails, so that two are undone, by turns with DBOS. */
export const measureCompensatedSagas: BenchCase = (context) =>
  measureContests(
    context,
    [
      {
        title: "third step fails, 2 compensations, 64 at once",
        sagasAtOnce: 64,
        ours: [{ work: "compensated", atLeast: 20 }],
        peerWork: "compensated",
      },
    ],
    { caseName: "P2", version: "5.3.0" },
  );
