import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Admin, Consumer, Producer } from "@platformatic/kafka";
import type { TestContext } from "vitest";
import { kafkaIsMissing, type KafkaServer, startKafka } from "../../../../tools/servers/kafka.ts";
import { kafkaTransport } from "../../src/kafka/index.ts";
import type { KafkaTransport, KafkaTransportOptions } from "../../src/kafka/index.ts";
import { leaveOut } from "./leave-out.ts";

const run = promisify(execFile);

/** A broker of the test's own or, by `DURE_KAFKA_BROKERS`, one that is there; undefined: neither. */
export interface TestKafka {
  readonly brokers: readonly string[];
  /** Absent: it is not ours to kill. */
  readonly server?: KafkaServer;
  /** Signed by itself; of the listener that speaks TLS. */
  readonly certificate?: string;
  readonly missing?: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What a start may take on a busy machine, for the hook that waits for it. */
export const kafkaStartMsMax = 240_000;

/** What a test asks of its broker. */
export interface OpenKafkaOptions {
  /** It is to be killed: one that is there does not do. */
  readonly own?: boolean;
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Makes a key for a listener with TLS: {@link TestKafka.certificate}. */
  readonly tls?: boolean;
}

/** Who may log in where the broker asks for that. */
export const kafkaUsers: Readonly<Record<string, string>> = { dure: "correct-horse" };

/** Everybody may do everything, except with what has rules of its own. */
const withRules = {
  "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
  "allow.everyone.if.no.acl.found": "true",
};

/** Starts a broker, or says in {@link TestKafka.missing} why not: leave each test out then. */
export async function openTestKafka(options: OpenKafkaOptions = {}): Promise<TestKafka> {
  const named = process.env["DURE_KAFKA_BROKERS"];
  const dispose = (): Promise<void> => Promise.resolve();
  if (named !== undefined && options.own !== true) {
    return { brokers: named.split(","), [Symbol.asyncDispose]: dispose };
  }
  const missing = await kafkaIsMissing();
  if (missing !== undefined) return { brokers: [], missing, [Symbol.asyncDispose]: dispose };
  const key = options.tls === true ? await makeKey() : undefined;
  const server = await startKafka({
    users: kafkaUsers,
    settings: { ...withRules, ...options.settings },
    ...(key && { tls: key }),
  });
  return {
    brokers: server.brokers,
    server,
    ...(key && { certificate: key.certificate }),
    async [Symbol.asyncDispose]() {
      await server.stop();
      if (key !== undefined) await rm(key.folder, { recursive: true, force: true });
    },
  };
}

/** A key for 127.0.0.1 whose certificate it has signed itself, made by the JDK's tool. */
export async function makeKey() {
  const folder = await mkdtemp(join(tmpdir(), "dure-key-"));
  const keystore = join(folder, "broker.p12");
  const password = "changeit";
  const at = ["-keystore", keystore, "-storetype", "PKCS12", "-storepass", password];
  const more = [
    "-keyalg",
    "EC",
    "-validity",
    "2",
    "-dname",
    "CN=broker",
    "-ext",
    "SAN=ip:127.0.0.1",
  ];
  await run("keytool", ["-genkeypair", "-alias", "broker", ...at, ...more]);
  const { stdout } = await run("keytool", ["-exportcert", "-rfc", "-alias", "broker", ...at]);
  return { folder, keystore, password, certificate: stdout };
}

/** Leaves the test out when there is no broker. */
export function needsKafka(context: TestContext, kafka: TestKafka): void {
  if (kafka.missing !== undefined) leaveOut(context, kafka.missing);
}

/** A transport with clients of its own. */
export interface TestKafkaTransport {
  readonly transport: KafkaTransport;
  readonly admin: Admin;
  readonly producer: Producer;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Clients that give up soon, and a transport on them. */
export function openKafkaTransport(
  brokers: readonly string[],
  options: Partial<KafkaTransportOptions> & {
    readonly connection?: Readonly<Record<string, unknown>>;
  } = {},
): TestKafkaTransport {
  const { connection, ...rest } = options;
  const shared = {
    clientId: "dure-test",
    bootstrapBrokers: [...brokers],
    // A broker that has just begun makes its topic of offsets first.
    retries: 20,
    retryDelay: 100,
    connectTimeout: 1_000,
    requestTimeout: 5_000,
    ...connection,
  };
  const producer = new Producer({ ...shared, retries: 2 });
  const admin = new Admin(shared);
  const transport = kafkaTransport({
    producer,
    admin,
    createConsumer: (settings) => new Consumer({ ...shared, ...settings }),
    topics: { partitions: 4, ...rest.topics },
    ...rest,
  });
  return {
    transport,
    admin,
    producer,
    async [Symbol.asyncDispose]() {
      await transport.close();
      await producer.close();
      await admin.close();
    },
  };
}

/** Removes every topic, and with it what groups remember of it: tests use the same names. */
export async function forgetTopics(brokers: readonly string[]): Promise<void> {
  const admin = new Admin({ clientId: "dure-test", bootstrapBrokers: [...brokers] });
  try {
    const topics = await admin.listTopics();
    if (topics.length > 0) await admin.deleteTopics({ topics });
  } finally {
    await admin.close();
  }
}

/** A record as any other client reads it. */
export interface PlainRecord {
  readonly partition: number;
  readonly offset: bigint;
  readonly key: Buffer;
  readonly value: Buffer;
  readonly headers: ReadonlyMap<string, Buffer>;
}

/** The first such record of a topic, as any other client reads it. */
export async function findRecord(
  kafka: Pick<TestKafka, "brokers">,
  topic: string,
  isIt: (record: PlainRecord) => boolean,
): Promise<PlainRecord> {
  const consumer = new Consumer({
    clientId: "onlooker",
    groupId: `onlooker-${topic}`,
    bootstrapBrokers: [...kafka.brokers],
  });
  const stream = await consumer.consume({ topics: [topic], mode: "earliest", maxWaitTime: 100 });
  try {
    for await (const { headers, ...rest } of stream) {
      const named = [...headers].map(([name, bytes]) => [name.toString(), bytes] as const);
      const record = { ...rest, headers: new Map(named) };
      if (isIt(record)) return record;
    }
    throw new Error(`topic ${topic} ended`);
  } finally {
    await consumer.close(true);
  }
}
