// Debezium's embedded engine on an outbox, by the configuration that the guide gives: for a test and for the bench.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fetchJavaLibraries, javaIsMissing } from "./maven.ts";

const folder = new URL("../../packages/dure/test/debezium/", import.meta.url);
const guide = new URL("../../docs/guides/relay-by-the-log.md", import.meta.url);

/** A record as the engine hands it on. */
export interface DebeziumRecord {
  readonly topic: string;
  readonly headers: string;
  readonly key: string;
  readonly value: string;
}

/** What the engine is started with. */
export interface DebeziumOptions {
  readonly databaseUrl: string;
  readonly slot: string;
  /** Where it keeps how far it has come. */
  readonly workDir: string;
  readonly onRecord: (record: DebeziumRecord) => void;
}

/** An engine in a process of its own. */
export interface Debezium extends AsyncDisposable {
  /** SIGSTOP: what commits waits for it. */
  freeze(): void;
  thaw(): void;
}

async function libraries() {
  const pom = await readFile(new URL("pom.xml", folder), "utf8");
  return { name: "debezium/3.6.1.Final", pom };
}

/** Why it cannot be started on this machine; undefined: it can. */
export async function debeziumIsMissing(): Promise<string | undefined> {
  return javaIsMissing(await libraries());
}

/** Starts it; whoever wants to know when it reads looks at its slot. */
export async function startDebezium(options: DebeziumOptions): Promise<Debezium> {
  const { databaseUrl, slot, workDir, onRecord } = options;
  const { hostname, port, username, password, pathname } = new URL(databaseUrl);
  const properties = `
name=dure
connector.class=io.debezium.connector.postgresql.PostgresConnector
plugin.name=pgoutput
slot.name=${slot}
publication.autocreate.mode=disabled
snapshot.mode=no_data
topic.prefix=test
database.hostname=${hostname}
database.port=${port}
database.user=${username}
database.password=${decodeURIComponent(password)}
database.dbname=${pathname.slice(1)}
offset.storage=org.apache.kafka.connect.storage.FileOffsetBackingStore
offset.storage.file.filename=${join(workDir, "offsets")}
offset.flush.interval.ms=1000
${await guideProperties()}`;
  const path = await fetchJavaLibraries(await libraries());
  const source = new URL("DebeziumReader.java", folder).pathname;
  const engine = spawn("java", ["-Xmx256m", "-cp", `${path}/*`, source], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const closed = once(engine, "close");
  engine.stdin.on("error", () => undefined); // it has ended, which `closed` says
  engine.stdin.write(`${properties}\0`);
  createInterface({ input: engine.stdout }).on("line", (line) => {
    const [topic = "", headers = "", key = "", value = ""] = line.split("\t");
    onRecord({ topic, headers, key, value });
  });
  return {
    freeze: () => void engine.kill("SIGSTOP"),
    thaw: () => void engine.kill("SIGCONT"),
    async [Symbol.asyncDispose]() {
      engine.kill("SIGKILL");
      if (engine.exitCode === null && engine.signalCode === null) await closed;
    },
  };
}

/** The lines that the guide tells people to configure. */
async function guideProperties(): Promise<string> {
  const [, properties] = /```properties\n([\s\S]*?)```/.exec(await readFile(guide, "utf8")) ?? [];
  if (properties === undefined) throw new Error("the guide has no properties");
  return properties;
}
