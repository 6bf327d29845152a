export { explore } from "./explore.ts";
export type { ExploreOptions, ExploreProgress } from "./explore-options.ts";
export { formatReport } from "./report.ts";
export type { ExplorationReport, ExploredPoint, PointVerdict } from "./report.ts";
export type { CrashPoint, Fault } from "./crash-point.ts";
export type {
  ExplorablePool,
  ExplorerPoolOptions,
  Invariant,
  PointFunction,
  ReferenceSnapshots,
  ScenarioModule,
  Scene,
} from "./scenario-module.ts";
export { createEffectLedger } from "./effect-ledger.ts";
export type { Effect, EffectLedger, RecordedEffect } from "./effect-ledger.ts";
