// DBOS in a process of its own: told where, it installs itself; then it makes load and says how much it did.
import { Client } from "pg";
import { answerParent } from "../child.ts";
import { slice } from "../load.ts";
import { refusal, stepBody, stepCount, stepResult, stepTable } from "../saga-steps.ts";
import type { DbosAnswer, DbosRequest, DbosVersion, DbosWork } from "./dbos.ts";
import { importPeer } from "./import-peer.ts";

type Workflow = (id: string) => Promise<unknown>;

interface Dbos {
  setConfig(config: Readonly<Record<string, unknown>>): void;
  registerWorkflow(workflow: Workflow, options: { name: string }): Workflow;
  runStep(step: () => Promise<unknown>, options: { name: string }): Promise<unknown>;
  launch(): Promise<void>;
}
interface DataSource {
  readonly client: (text: TemplateStringsArray, ...values: unknown[]) => Promise<unknown>;
  runTransaction(work: () => Promise<unknown>, options: { name: string }): Promise<unknown>;
}
interface DataSourcePackage {
  readonly PostgresDataSource: new (
    name: string,
    options: Readonly<Record<string, unknown>>,
  ) => DataSource;
}

const packages: Readonly<Record<DbosVersion, string>> = {
  "5.3.0": "dbos5",
  "4.24.16": "@dbos-inc/dbos-sdk",
};
/** Of its own tables, and of the data source. The default, 10, is slower. */
const poolSize = 20;

let workflows: Readonly<Partial<Record<DbosWork, Workflow>>> = {};
let count = 0;

answerParent<DbosRequest, DbosAnswer>(async (request) => {
  switch (request.kind) {
    case "start":
      workflows = await start(request.url, request.version);
      return { kind: "started" };
    case "run": {
      const workflow = workflows[request.work];
      if (workflow === undefined) throw new Error(`this version has no "${request.work}"`);
      return { kind: "measured", slice: await slice(() => workflow(`o-${++count}`), request) };
    }
  }
});

async function start(url: string, version: DbosVersion): Promise<typeof workflows> {
  // By its shape: what of the package is used here.
  const { DBOS } = (await importPeer(packages[version])) as { readonly DBOS: Dbos };
  await createTable(url);
  DBOS.setConfig({
    name: "bench",
    systemDatabaseUrl: url,
    systemDatabasePoolSize: poolSize,
    logLevel: "error",
    enableOTLP: false,
    tracingEnabled: false,
  });
  const dataSource = version === "4.24.16" ? await openDataSource(url) : undefined;
  const registered = {
    plain: DBOS.registerWorkflow(plain(DBOS), { name: "plain" }),
    compensated: DBOS.registerWorkflow(compensated(DBOS), { name: "compensated" }),
    ...(dataSource !== undefined && {
      transactional: DBOS.registerWorkflow(transactional(dataSource), { name: "transactional" }),
    }),
  };
  await DBOS.launch();
  return registered;
}

async function createTable(url: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(stepTable);
  } finally {
    await client.end();
  }
}

async function openDataSource(url: string): Promise<DataSource> {
  const { PostgresDataSource } = (await importPeer(
    "@dbos-inc/postgres-datasource",
  )) as DataSourcePackage;
  const { hostname, port, username, password, pathname } = new URL(url);
  return new PostgresDataSource("bench", {
    host: hostname,
    port: Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: pathname.slice(1),
    max: poolSize,
    onnotice: () => undefined,
  });
}

function plain(dbos: Dbos): Workflow {
  return async (id) => {
    let last: unknown;
    for (let step = 1; step <= stepCount; step += 1) {
      last = await dbos.runStep(() => stepResult(step, id), { name: `s${step}` });
    }
    return last;
  };
}

/** The third of four fails; the first two are undone, the last first, as its documentation shows it. */
function compensated(dbos: Dbos): Workflow {
  return async (id) => {
    const done: number[] = [];
    try {
      for (const step of [1, 2]) {
        await dbos.runStep(() => stepResult(step, id), { name: `s${step}` });
        done.push(step);
      }
      return await dbos.runStep(() => Promise.reject(new Error(refusal)), { name: "s3" });
    } catch {
      for (const step of done.toReversed()) {
        await dbos.runStep(() => stepResult(step, id), { name: `undo${step}` });
      }
      return { compensated: true };
    }
  };
}

function transactional(dataSource: DataSource): Workflow {
  return async (id) => {
    let last: unknown;
    for (let step = 1; step <= stepCount; step += 1) {
      const work = async (): Promise<unknown> => {
        await dataSource.client`insert into app (wf, step, body) values (${id}, ${step}, ${stepBody})`;
        return { step };
      };
      last = await dataSource.runTransaction(work, { name: `t${step}` });
    }
    return last;
  };
}
