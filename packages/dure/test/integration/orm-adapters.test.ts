/** An event written through any ORM's transaction commits with the business row of that transaction, or not at all. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { TestContext } from "vitest";
import {
  fromKnex,
  fromMikroOrm,
  fromPrisma,
  fromSequelize,
  fromTypeorm,
} from "../../src/transaction/index.ts";
import type {
  KnexTransaction,
  MikroOrmManager,
  PrismaTransaction,
  SequelizeTransaction,
  TypeormManager,
  TypeormQueryRunner,
} from "../../src/transaction/index.ts";
import { leaveOut } from "../support/leave-out.ts";
import { needOutside } from "../support/outside-package.ts";
import { createTestDatabase } from "../support/test-database.ts";
import type { TestDatabase } from "../support/test-database.ts";
import {
  conforms,
  createBusinessTable,
  createHandleService,
  eventsOf,
  OrderPlaced,
  type Way,
} from "./adapter-conformance.ts";

/** An ORM with a pool of its own. */
interface Opened {
  readonly way: Way;
  /** What its adapter refuses, and a word of what it says. */
  readonly refuses: Readonly<Record<string, () => unknown>>;
  close(): Promise<unknown>;
}

let database: TestDatabase;
const dure = createHandleService();

beforeAll(async () => {
  database = await createTestDatabase({ name: "orms" });
  await createBusinessTable(database);
});
afterAll(() => database[Symbol.asyncDispose]());

interface Knex {
  transaction(work: (trx: KnexTransaction & KnexTable) => Promise<unknown>): Promise<unknown>;
  destroy(): Promise<void>;
}
type KnexTable = (table: string) => { insert(row: object): PromiseLike<unknown> };

async function openKnex(context: TestContext): Promise<Opened> {
  const module = await needOutside<{ default(options: object): Knex }>(context, "orms", "knex");
  const knex = module.default({ client: "pg", connection: database.url, pool: { max: 2 } });
  return {
    way: (work) =>
      knex.transaction((trx) => work(fromKnex(trx), (id) => trx("business").insert({ id }))),
    refuses: {
      "the knex": () => fromKnex(knex as never),
      "no Knex transaction": () => fromKnex({} as never),
    },
    close: () => knex.destroy(),
  };
}

interface DataSource extends Pick<TypeormManager, "transaction"> {
  initialize(): Promise<void>;
  readonly manager: TypeormManager;
  transaction(work: (manager: TypeormEntities) => Promise<unknown>): Promise<unknown>;
  createQueryRunner(): TypeormQueryRunner & {
    startTransaction(): Promise<void>;
    commitTransaction(): Promise<void>;
    release(): Promise<void>;
  };
  destroy(): Promise<void>;
}
type TypeormEntities = TypeormManager & {
  insert(entity: string, row: object): Promise<unknown>;
};
interface Typeorm {
  readonly DataSource: new (options: object) => DataSource;
  readonly EntitySchema: new (options: object) => object;
}

async function openTypeorm(context: TestContext): Promise<Opened & { source: DataSource }> {
  const typeorm = await needOutside<Typeorm>(context, "orms", "typeorm");
  const columns = { id: { type: "text", primary: true } };
  const source = new typeorm.DataSource({
    type: "postgres",
    url: database.url,
    poolSize: 2,
    entities: [new typeorm.EntitySchema({ name: "business", columns })],
  });
  await source.initialize();
  return {
    source,
    way: (work) =>
      source.transaction((manager) =>
        work(fromTypeorm(manager), (id) => manager.insert("business", { id })),
      ),
    refuses: {
      "not inside": () => fromTypeorm(source.manager),
      "not inside a": () => fromTypeorm(source.createQueryRunner()),
      "not inside a transaction": () => fromTypeorm(source),
      "no TypeORM manager": () => fromTypeorm(null as never),
    },
    close: () => source.destroy(),
  };
}

interface MikroOrm {
  readonly em: { fork(): MikroOrmEntities };
  close(): Promise<void>;
}
type MikroOrmEntities = MikroOrmManager & {
  transactional(work: (em: MikroOrmEntities) => Promise<unknown>): Promise<unknown>;
  insert(entity: object, row: object): Promise<unknown>;
};
interface MikroOrmModule {
  readonly MikroORM: { init(options: object): Promise<MikroOrm> };
  readonly EntitySchema: new (options: object) => object;
}

async function openMikroOrm(context: TestContext): Promise<Opened> {
  const name = "@mikro-orm/postgresql";
  const { MikroORM, EntitySchema } = await needOutside<MikroOrmModule>(context, "orms", name);
  const properties = { id: { type: "text", primary: true } };
  const Business = new EntitySchema({ name: "Business", tableName: "business", properties });
  const orm = await MikroORM.init({
    entities: [Business],
    clientUrl: database.url,
    pool: { min: 0, max: 2 },
  });
  return {
    way: (work) =>
      orm.em
        .fork()
        .transactional((em) => work(fromMikroOrm(em), (id) => em.insert(Business, { id }))),
    refuses: {
      "not inside": () => fromMikroOrm(orm.em.fork()),
      "MikroORM 7": () =>
        fromMikroOrm({ isInTransaction: () => true, getTransactionContext: () => ({}) }),
      "no MikroORM manager": () => fromMikroOrm(undefined as never),
    },
    close: () => orm.close(),
  };
}

interface Sequelize {
  transaction(work: (transaction: SequelizeTransaction) => Promise<unknown>): Promise<unknown>;
  define(name: string, columns: object, options: object): SequelizeModel;
  close(): Promise<void>;
}
interface SequelizeModel {
  create(row: object, options: object): Promise<unknown>;
}
interface SequelizeModule {
  readonly Sequelize: new (url: string, options: object) => Sequelize;
  readonly DataTypes: { readonly TEXT: object };
}

async function openSequelize(context: TestContext): Promise<Opened> {
  const module = await needOutside<SequelizeModule>(context, "orms", "sequelize");
  const sequelize = new module.Sequelize(database.url, { logging: false, pool: { max: 2 } });
  const columns = { id: { type: module.DataTypes.TEXT, primaryKey: true } };
  const options = { tableName: "business", timestamps: false };
  const Business = sequelize.define("business", columns, options);
  return {
    way: (work) =>
      sequelize.transaction((transaction) =>
        work(fromSequelize(transaction), (id) => Business.create({ id }, { transaction })),
      ),
    refuses: {
      "no Sequelize transaction": () => fromSequelize(sequelize as never),
      "no Sequelize": () => fromSequelize(null as never),
    },
    close: () => sequelize.close(),
  };
}

interface Prisma {
  $transaction(work: (tx: PrismaTables) => Promise<unknown>, options: object): Promise<unknown>;
  $disconnect(): Promise<void>;
}
type PrismaTables = PrismaTransaction & {
  readonly business: { create(row: object): PromiseLike<unknown> };
};
interface PrismaAdapter {
  readonly PrismaPg: new (options: object) => object;
}

async function openPrisma(context: TestContext): Promise<Opened> {
  const { PrismaPg } = await needOutside<PrismaAdapter>(context, "orms", "@prisma/adapter-pg");
  const generated = new URL("../../../../tools/orms/dist/prisma/client.ts", import.meta.url);
  if (!existsSync(fileURLToPath(generated))) {
    leaveOut(context, "Prisma's generated client is missing: npm ci --prefix tools/orms");
  }
  const { PrismaClient } = (await import(generated.href)) as {
    readonly PrismaClient: new (options: object) => Prisma;
  };
  const prisma = new PrismaClient({
    adapter: new PrismaPg({ connectionString: database.url, max: 2 }),
  });
  return {
    way: (work) =>
      prisma.$transaction(
        (tx) => work(fromPrisma(tx), (id) => tx.business.create({ data: { id } })),
        { maxWait: 20_000, timeout: 20_000 },
      ),
    refuses: {
      "the client": () => fromPrisma(prisma as never),
      "no Prisma transaction": () => fromPrisma({} as never),
    },
    close: () => prisma.$disconnect(),
  };
}

const orms: Readonly<Record<string, (context: TestContext) => Promise<Opened>>> = {
  Prisma: openPrisma,
  TypeORM: openTypeorm,
  Knex: openKnex,
  MikroORM: openMikroOrm,
  Sequelize: openSequelize,
};

describe.each(Object.entries(orms))("through %s", (name, open) => {
  let opened: Opened | undefined;
  beforeEach(async (context) => {
    opened = await open(context);
  });
  afterEach(async () => {
    await opened?.close();
    opened = undefined;
  });

  conforms(
    name,
    () => database,
    (work) => {
      if (opened === undefined) throw new Error(`${name} is not open`);
      return opened.way(work);
    },
  );

  it("what is no transaction is refused by the adapter", () => {
    for (const [words, make] of Object.entries(opened?.refuses ?? {})) {
      expect(make, words).toThrow(
        expect.objectContaining({
          code: "CONFIGURATION_INVALID",
          message: expect.stringContaining(words) as string,
        }),
      );
    }
  });

  it("an error of the database says nothing of the parameters", async () => {
    if (opened === undefined) throw new Error(name);
    const errors: unknown[] = [];
    const attempt = opened.way(async (tx) => {
      await tx.query("select $1::text, 1 / $2::int, '?'", ["secret", 0]).catch((error: unknown) => {
        errors.push(error);
        throw error;
      });
    });
    await expect(attempt).rejects.toMatchObject({ code: "22012" });
    const [error] = errors as [Error];
    expect(`${error.message} ${JSON.stringify(error)} ${String(error.cause)}`).not.toContain(
      "secret",
    );
    expect(error.message).toContain("division by zero");
  });
});

describe("a runner of TypeORM", () => {
  it("is a transaction after startTransaction, and none after its end", async (context) => {
    const { source } = await openTypeorm(context);
    const runner = source.createQueryRunner();
    await runner.startTransaction();
    await dure.outbox.emit(fromTypeorm(runner), OrderPlaced.of({ id: "runner", note: "" }));
    await runner.commitTransaction();
    expect(() => fromTypeorm(runner)).toThrow("not inside a transaction");
    await runner.release();
    await source.destroy();
    expect(await eventsOf(database, "runner")).toHaveLength(1);
  });
});
