import { type CrashPoint, describePoint } from "./crash-point.ts";

/** What {@link explore} found. */
export interface ExplorationReport {
  /**
   * `held`: at each point that was reached all was well. `violated`: at one it was not. `incomplete`: neither, but a
   * point that both fault-free runs came by was not reached, nor its name at all.
   */
  readonly verdict: "held" | "violated" | "incomplete";
  /** For `process.exitCode`: 0 held, 1 violated, 2 incomplete. */
  readonly exitCode: 0 | 1 | 2;
  readonly moduleUrl: string;
  /** Draws the same points again, where `points` is a number. */
  readonly seed: number;
  /** How many points there are, those left out included. */
  readonly foundCount: number;
  /** Those explored, in the order of the fault-free run. */
  readonly points: readonly ExploredPoint[];
  readonly durationMs: number;
}

/** One point, and what came of the fault there. */
export interface ExploredPoint extends CrashPoint {
  readonly verdict: PointVerdict;
  readonly durationMs: number;
}

/** What came of the fault at one point. */
export type PointVerdict =
  | { readonly kind: "held" }
  | { readonly kind: "violated"; readonly problems: readonly string[] }
  /**
   * No run came by, in two tries. Nothing is known about it. `cameBy`: how often the last one came by its name;
   * more than 0 is a loop that turned less often.
   */
  | { readonly kind: "not-reached"; readonly cameBy: number; readonly detail: string };

/** Makes the report of its points. */
export function reportOf(
  facts: Omit<ExplorationReport, "verdict" | "exitCode">,
): ExplorationReport {
  const isViolated = facts.points.some(({ verdict }) => verdict.kind === "violated");
  const isIncomplete = facts.points.some(
    ({ verdict, isSteady }) => verdict.kind === "not-reached" && verdict.cameBy === 0 && isSteady,
  );
  if (isViolated) return { verdict: "violated", exitCode: 1, ...facts };
  if (isIncomplete) return { verdict: "incomplete", exitCode: 2, ...facts };
  return { verdict: "held", exitCode: 0, ...facts };
}

/** The report for people: what went wrong first, then each point with its verdict and how long it took. */
export function formatReport(report: ExplorationReport): string {
  const count = (kind: PointVerdict["kind"]): number =>
    report.points.filter(({ verdict }) => verdict.kind === kind).length;
  const sampled = report.points.length < report.foundCount ? `, drawn by seed ${report.seed}` : "";
  const lines = [
    `${report.verdict}: ${report.points.length} of ${report.foundCount} points of ${report.moduleUrl}${sampled}`,
    `${count("held")} held, ${count("violated")} violated, ${count("not-reached")} not reached, in ${seconds(report.durationMs)}`,
    "",
    ...report.points.filter(({ verdict }) => verdict.kind !== "held").flatMap(troubleLines),
    ...report.points.map(pointLine),
  ];
  return lines.join("\n");
}

function troubleLines(point: ExploredPoint): readonly string[] {
  const { verdict } = point;
  const details =
    verdict.kind === "violated"
      ? verdict.problems
      : verdict.kind === "not-reached"
        ? [verdict.detail]
        : [];
  const title = `${verdict.kind.toUpperCase()}  ${describePoint(point)}`;
  return [title, ...details.map((detail) => `  ${detail.replaceAll("\n", "\n  ")}`), ""];
}

function pointLine(point: ExploredPoint): string {
  const { verdict, durationMs } = point;
  const unsteady = point.isSteady ? "" : " (not in every run)";
  const time = seconds(durationMs).padStart(8);
  return `${verdict.kind.padEnd(12)}${time}  ${describePoint(point)}${unsteady}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
