// Apache Kafka without Docker: `npm run kafka [-- --port 9092 --data DIR]`, or from tests.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import { fetchJavaLibraries, javaIsMissing } from "./maven.ts";

/** The newest release that Maven Central had; its server needs Java 17. */
const version = "4.3.1";
const loggingVersion = "2.25.5";
/** Kafka's POM leaves out the binding of its logger. */
const kafka = {
  name: `kafka/${version}`,
  pom: `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local.dure</groupId><artifactId>kafka</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${version}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>${loggingVersion}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>${loggingVersion}</version></dependency>
  </dependencies>
</project>
`,
};
/** Any 16 bytes: one broker is a cluster of its own. */
const clusterId = "4L6g3nShT-eMCtK--X86sw";
const startMsMax = 180_000;
const stopMsMax = 20_000;

const run = promisify(execFile);

/** How a broker is started. */
export interface KafkaOptions {
  /** @defaultValue a free port */
  readonly port?: number;
  /** Kept after the stop. @defaultValue a new folder, which goes with the stop */
  readonly dataDir?: string;
  /** Opens a second listener that takes SASL/PLAIN logins with these names and no others. */
  readonly users?: Readonly<Record<string, string>>;
  /** Further listeners, each of which tells its clients to come back by another port: that of a proxy in front of it. */
  readonly listeners?: readonly { readonly port: number; readonly advertisedPort: number }[];
  /** Opens a further listener that speaks TLS, with the key of this PKCS #12 file. */
  readonly tls?: { readonly keystore: string; readonly password: string };
  /** Further lines of `server.properties`. */
  readonly settings?: Readonly<Record<string, string | number>>;
}

/** A broker that runs: a process of its own, which ends with this one. */
export interface KafkaServer {
  /** For clients' `bootstrapBrokers`. */
  readonly brokers: readonly string[];
  /** The same by the listener that asks for a login; empty without users. */
  readonly saslBrokers: readonly string[];
  /** The same by the listener that speaks TLS; empty without a key. */
  readonly tlsBrokers: readonly string[];
  readonly dataDir: string;
  /** SIGSTOP: it says nothing and loses nothing. */
  freeze(): void;
  thaw(): void;
  /** SIGKILL, as a crash. Resolves when it has ended. */
  kill(): Promise<void>;
  /** After a kill or a stop: the same broker on the same ports and data. Resolves when it answers. */
  restart(): Promise<void>;
  /** SIGTERM; SIGKILL when that takes too long. Removes the data unless its folder was given. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Why no broker can be started on this machine; undefined: it can. */
export function kafkaIsMissing(): Promise<string | undefined> {
  return javaIsMissing(kafka);
}

/**
 * Starts a broker of one node, and fetches Kafka before the first start.
 *
 * @throws Error with the end of what the failing program said
 */
export async function startKafka(options: KafkaOptions = {}): Promise<KafkaServer> {
  const libraries = await fetchJavaLibraries(kafka);
  const folder = options.dataDir ?? (await mkdtemp(join(tmpdir(), "dure-kafka-")));
  await mkdir(folder, { recursive: true });
  const ports = {
    plain: options.port ?? (await freePort()),
    controller: await freePort(),
    sasl: options.users === undefined ? undefined : await freePort(),
    tls: options.tls === undefined ? undefined : await freePort(),
  };
  await writeFile(join(folder, "server.properties"), propertiesOf(folder, ports, options));
  await writeFile(join(folder, "log4j2.properties"), loggingProperties);
  const java = ["-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"].concat(
    `-Dlog4j2.configurationFile=${join(folder, "log4j2.properties")}`,
    ["-cp", `${libraries}/*`],
  );
  const format = "format --standalone --ignore-formatted -t".split(" ").concat(clusterId);
  await run("java", [
    ...java,
    "kafka.tools.StorageTool",
    ...format,
    "-c",
    join(folder, "server.properties"),
  ]);
  const broker = new Broker([...java, "kafka.Kafka", join(folder, "server.properties")]);
  const stop = async (): Promise<void> => {
    await broker.stop();
    if (options.dataDir === undefined) await rm(folder, { recursive: true, force: true });
  };
  await broker.start().catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return {
    brokers: [`127.0.0.1:${ports.plain}`],
    saslBrokers: ports.sasl === undefined ? [] : [`127.0.0.1:${ports.sasl}`],
    tlsBrokers: ports.tls === undefined ? [] : [`127.0.0.1:${ports.tls}`],
    dataDir: folder,
    freeze: () => broker.signal("SIGSTOP"),
    thaw: () => broker.signal("SIGCONT"),
    kill: () => broker.kill(),
    restart: () => broker.start(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** The broker's process: at most one at a time, killed when this process ends. */
class Broker {
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  readonly #killWithUs = (): void => void this.#child?.kill("SIGKILL");

  constructor(args: readonly string[]) {
    this.#args = args;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async start(): Promise<void> {
    await this.#exited;
    const child = spawn("java", this.#args, { cwd: "/", stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    process.once("exit", this.#killWithUs);
    const { promise, resolve: end } = Promise.withResolvers<void>();
    this.#exited = promise;
    let log = "";
    let hasEnded = false;
    let isReady = false;
    const note = (bytes: Buffer): void => {
      log = (log + bytes.toString()).slice(-4_000);
      isReady ||= log.includes("Kafka Server started");
    };
    child.stdout.on("data", note);
    child.stderr.on("data", note);
    child.once("error", (error) => note(Buffer.from(error.message)));
    child.once("close", () => {
      hasEnded = true;
      process.off("exit", this.#killWithUs);
      end();
    });
    const deadline = performance.now() + startMsMax;
    while (!isReady) {
      if (hasEnded || performance.now() > deadline) {
        child.kill("SIGKILL");
        throw new Error(`Kafka did not start within ${startMsMax} ms. It said last:\n${log}`);
      }
      await delay(50);
    }
  }

  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#exited;
  }

  async stop(): Promise<void> {
    // A frozen process hears SIGTERM only when it goes on.
    this.signal("SIGCONT");
    this.signal("SIGTERM");
    const over = new AbortController();
    const timeout = delay(stopMsMax, undefined, { signal: over.signal }).catch(() => undefined);
    await Promise.race([this.#exited, timeout]);
    over.abort();
    await this.kill();
  }
}

interface Ports {
  readonly plain: number;
  readonly controller: number;
  readonly sasl: number | undefined;
  readonly tls: number | undefined;
}

function propertiesOf(folder: string, ports: Ports, options: KafkaOptions): string {
  const { users, tls, settings, listeners = [] } = options;
  const at = (name: string, port: number): string => `${name}://127.0.0.1:${port}`;
  const clients = [at("PLAINTEXT", ports.plain)];
  if (ports.sasl !== undefined) clients.push(at("LOGIN", ports.sasl));
  if (ports.tls !== undefined) clients.push(at("SECURE", ports.tls));
  const logins = Object.entries(users ?? {}).map(([name, word]) => `user_${name}="${word}"`);
  const lines = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.quorum.bootstrap.servers": `127.0.0.1:${ports.controller}`,
    listeners: [
      ...clients,
      ...listeners.map(({ port }, index) => at(`PROXIED${index}`, port)),
      at("CONTROLLER", ports.controller),
    ].join(","),
    "advertised.listeners": [
      ...clients,
      ...listeners.map(({ advertisedPort }, index) => at(`PROXIED${index}`, advertisedPort)),
      at("CONTROLLER", ports.controller),
    ].join(","),
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": [
      "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,SECURE:SSL",
      ...listeners.map((_, index) => `PROXIED${index}:PLAINTEXT`),
    ].join(","),
    ...(ports.sasl !== undefined && {
      "sasl.enabled.mechanisms": "PLAIN",
      "listener.name.login.plain.sasl.jaas.config": `org.apache.kafka.common.security.plain.PlainLoginModule required ${logins.join(" ")};`,
    }),
    ...(tls !== undefined && {
      "listener.name.secure.ssl.keystore.type": "PKCS12",
      "listener.name.secure.ssl.keystore.location": tls.keystore,
      "listener.name.secure.ssl.keystore.password": tls.password,
    }),
    "log.dirs": join(folder, "logs"),
    // Topics come from those who declare them, or not at all.
    "auto.create.topics.enable": "false",
    "num.partitions": 4,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    ...settings,
  };
  return Object.entries(lines)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
}

const loggingProperties = `appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.c.ref=C
`;

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done, fail) => {
    probe.once("error", fail);
    probe.listen({ host: "127.0.0.1", port: 0 }, done);
  });
  const address = probe.address();
  await new Promise((done) => probe.close(done));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** For people: runs until Ctrl-C. */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { port: { type: "string", default: "9092" }, data: { type: "string" } },
  });
  const missing = await kafkaIsMissing();
  if (missing !== undefined) throw new Error(missing);
  const data = values.data === undefined ? {} : { dataDir: resolve(values.data) };
  console.log("Starting Kafka (the first time it is fetched, which takes a while) …");
  const server = await startKafka({ port: Number(values.port), ...data });
  console.log(`Kafka listens on ${server.brokers[0]}; data in ${server.dataDir}. Ctrl-C stops it.`);
  const signalled = new Promise((done) => {
    process.once("SIGINT", done);
    process.once("SIGTERM", done);
  });
  await signalled;
  await server.stop();
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}
