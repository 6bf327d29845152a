import type { BenchCase } from "../context.ts";
import { measureContests } from "../saga-contest.ts";

/** P1: sagas of four steps that call nothing, many at once and one at a time, by turns with DBOS. */
export const measurePlainSagas: BenchCase = (context) =>
  measureContests(
    context,
    [
      {
        title: "4 plain steps, 64 at once",
        sagasAtOnce: 64,
        ours: [{ work: "plain", atLeast: 25, atLeastOfRaw: 0.5 }],
        peerWork: "plain",
      },
      {
        title: "4 plain steps, one at a time",
        sagasAtOnce: 1,
        ours: [{ work: "plain", atLeast: 4 }],
        peerWork: "plain",
      },
    ],
    { caseName: "P1", version: "5.3.0" },
  );
