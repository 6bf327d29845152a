import type { BenchCase } from "../context.ts";
import { measureContests } from "../saga-contest.ts";

/** P3: sagas of four steps that write a row together with the journal, by code and by one statement. */
export const measureTransactionalSagas: BenchCase = (context) =>
  measureContests(
    context,
    [
      {
        title: "4 transactional steps, 64 at once",
        sagasAtOnce: 64,
        ours: [
          { work: "local", label: "interactive", atLeast: 5 },
          { work: "statement", label: "one statement a step", atLeast: 10 },
        ],
        peerWork: "transactional",
      },
    ],
    { caseName: "P3", version: "4.24.16" },
  );
