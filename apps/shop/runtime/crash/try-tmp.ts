import { explore, formatReport } from "dure/explorer";
const course = process.argv[2] ?? "completed";
const t=Date.now();
const report = await explore({
  module: new URL("file:///work/wt/shopcrash/apps/shop/runtime/crash/checkout.scenario.ts"),
  databases: ["order","payment","inventory","delivery","provider","bus"],
  faults: ["crash","answer-lost"],
  points: process.argv[3] === "all" ? "all" : Number(process.argv[3] ?? 6),
  env: { SHOP_COURSE: course },
  execArgv: ["--conditions=dure-source"],
  ...(process.argv[4] ? { only: ({name,when}) => new RegExp(process.argv[4]).test(`${when} ${name}`) } : {}),
  ...(process.env["LIST"] ? { only: (p) => { console.log("POINT", p.isSteady ? "s" : "u", p.when, p.name, p.occurrence); return p.occurrence===1 && p.when==="before" && p.name==="order begin"; } } : {}),
  onProgress: ({doneCount, plannedCount, last}) => console.log(Date.now()-t, doneCount, plannedCount, last.verdict.kind, last.isSteady, last.when, last.name, last.occurrence, last.durationMs|0),
});
console.log(formatReport(report));
