import type { BenchContext } from "./context.ts";
import { openDatabase, settle } from "./database.ts";
import { ratioFigure } from "./figure.ts";
import type { Figure } from "./figure.ts";
import { rotate, slice, takeTurns } from "./load.ts";
import type { Contender } from "./load.ts";
import { Series } from "./measure.ts";
import { openDbos } from "./peers/dbos.ts";
import type { DbosPeer, DbosVersion, DbosWork } from "./peers/dbos.ts";
import { openRawInserts, raw } from "./raw.ts";
import type { RawInserts } from "./raw.ts";
import { stepTable } from "./saga-steps.ts";
import { countingSagas, sagaEngine } from "./sagas.ts";
import type { SagaWork } from "./sagas.ts";

/** Each contender runs this often in a round, by turns: a slice must be long beside the time of one workflow. */
const turns = 2;
const warmUp = { seconds: 0.6, slices: 1 };

/** One kind of saga, that many at once, beside the peer's workflow of the same steps. */
export interface Contest {
  readonly title: string;
  readonly sagasAtOnce: number;
  readonly ours: readonly {
    readonly work: SagaWork;
    /** How it stands in the table, where there are several. */
    readonly label?: string;
    /** Of the peer's rate. */
    readonly atLeast: number;
    readonly atLeastOfRaw?: number;
  }[];
  readonly peerWork: DbosWork;
}

/** What stands in the table, and against which peer. */
export interface ContestNames {
  readonly caseName: string;
  readonly version: DbosVersion;
}

/** What is open while it is measured. */
interface Rivals {
  readonly peer: DbosPeer;
  readonly dure: (work: SagaWork) => Promise<void>;
}

/** Raw inserts, then the library and the peer by turns, contest after contest, round after round. */
export async function measureContests(
  context: BenchContext,
  contests: readonly Contest[],
  { caseName, version }: ContestNames,
): Promise<readonly Figure[]> {
  const { options, server, progress } = context;
  const name = `${caseName.toLowerCase()}_sagas`;
  await using database = await openDatabase(server, name);
  await database.pool.query(stepTable);
  await using rawInserts = await openRawInserts(server, `${name}_raw`);
  await using peer = await openDbos(server, { database: `${name}_dbos`, version });
  const sagas = await sagaEngine.open(database.pool);
  await sagas.start();
  try {
    const series = new Series();
    const rivals = { peer, dure: countingSagas(sagas) };
    progress(`${caseName} warm-up`);
    for (const contest of contests) await takeTurns(contenders(contest, rivals), warmUp);
    for (let round = 1; round <= options.rounds; round += 1) {
      for (const contest of contests) {
        await Promise.all([rawInserts.empty(), peer.settle()]);
        await settle(database.pool);
        const line = await measureContest(context, series, { contest, rivals, rawInserts });
        progress(`${caseName} round ${round}/${options.rounds}, ${contest.title}: ${line}`);
      }
    }
    return contests.flatMap((contest) => figures(series, contest, { caseName, peer: peer.name }));
  } finally {
    await sagas.stop();
  }
}

async function measureContest(
  { options }: BenchContext,
  series: Series,
  { contest, rivals, rawInserts }: { contest: Contest; rivals: Rivals; rawInserts: RawInserts },
): Promise<string> {
  const rawRates = await rotate([rawInserts], { seconds: options.seconds / 2, slices: 1 });
  series.add(rawBeside(contest), rawRates.get(raw) ?? Number.NaN);
  const { seconds } = options;
  const rates = await takeTurns(contenders(contest, rivals), { seconds, slices: turns });
  for (const [name, rate] of rates) series.add(name, rate);
  return [...rates.values()].map((rate) => `${Math.round(rate)}/s`).join(", ");
}

function contenders(contest: Contest, { peer, dure }: Rivals): readonly Contender[] {
  const { sagasAtOnce, peerWork } = contest;
  const ours = contest.ours.map(({ work, label }) => ({
    name: nameOf(contest, label),
    run: (ms: number) => slice(() => dure(work), { ms, writers: sagasAtOnce }),
  }));
  return [
    ...ours,
    {
      name: peerBeside(contest),
      run: (ms) => peer.run(peerWork, { ms, writers: sagasAtOnce }),
    },
  ];
}

function figures(
  series: Series,
  contest: Contest,
  { caseName, peer }: { readonly caseName: string; readonly peer: string },
): readonly Figure[] {
  const figure = ratioFigure.bind(undefined, series, caseName);
  const base = rawBeside(contest);
  const ours = contest.ours.flatMap(({ label, atLeast, atLeastOfRaw }) => {
    const work = nameOf(contest, label);
    return [
      figure({ work, base: peerBeside(contest), of: peer, atLeast }),
      figure({
        work,
        base,
        of: raw,
        ...(atLeastOfRaw !== undefined && { atLeast: atLeastOfRaw }),
      }),
    ];
  });
  const peers = figure({ work: peerBeside(contest), base, of: raw });
  return [...ours, { ...peers, work: `${peer}: ${contest.title}` }];
}

function nameOf({ title }: Contest, label: string | undefined): string {
  return label === undefined ? title : `${title}, ${label}`;
}

function peerBeside({ title }: Contest): string {
  return `peer: ${title}`;
}

function rawBeside({ title }: Contest): string {
  return `${raw}, beside ${title}`;
}
