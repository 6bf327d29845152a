/** Commands by message on a real database: answers that come late, twice, or for what is undone (S7). */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { event, saga, StepRefusedError } from "../../src/index.ts";
import type { EventDefinition, ReceivedMessage } from "../../src/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

const schema = z.object({ order: z.string() });
type Order = z.infer<typeof schema>;
const message = (type: string): EventDefinition<Order, Order> =>
  event(type, { version: 1, schema, key: ({ order }) => order });
const Reserve = message("stock.reserve");
const Reserved = message("stock.reserved");
const Release = message("stock.release");
const Released = message("stock.released");

const reserve = {
  send: ({ input }: { input: Order }) => Reserve.of(input),
  done: Reserved,
  compensate: {
    send: ({ input }: { input: Order }) => Release.of(input),
    done: Released,
    timeoutMs: 60_000,
  },
};
/** Its command is given up when no answer has come at once; the next attempt is an hour away. */
const patient = saga("patient", { version: 1, input: schema })
  .step("reserve", {
    ...reserve,
    timeoutMs: 50,
    retry: { attempts: 2, baseMs: 3_600_000, maxMs: 3_600_000 },
  })
  .output(({ results }) => results.reserve);
/** As patient, with one attempt only: then it is undone, for it may have happened. */
const hasty = saga("hasty", { version: 1, input: schema })
  .step("reserve", { ...reserve, timeoutMs: 50, retry: { attempts: 1 } })
  .end();
const refused = saga("refused-later", { version: 1, input: schema })
  .step("reserve", { ...reserve, timeoutMs: 60_000 })
  .step("pay", {
    run: () => Promise.reject(new StepRefusedError("NO_MONEY", "there is none")),
    compensate: () => Promise.resolve(),
  })
  .end();

type Command = ReceivedMessage<Order>;

let database: TestDatabase;
let service: TestService;
const commands: Command[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  service = createTestService({
    pool: database.pool,
    sagas: { definitions: [patient, hasty, refused], pollMs: 20 },
    consumer: { pollMsMax: 50 },
  });
  for (const command of [Reserve, Release]) {
    service.dure.on(command, { group: "stock" }, (heard) => {
      commands.push(heard);
      return Promise.resolve();
    });
  }
  await service.dure.start();
});
beforeEach(() => {
  commands.length = 0;
});
afterAll(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

async function commandOf(type: string): Promise<Command> {
  await waitFor(() => commands.some((command) => command.type === type), { what: type });
  const command = commands.find((heard) => heard.type === type);
  if (command === undefined) throw new Error(`no ${type} was heard`);
  return command;
}

/** The participant answers, as often as it likes. */
async function answer(command: Command, reply: EventDefinition<Order, Order>): Promise<void> {
  const { correlationId, data } = command;
  const context = { correlationId: correlationId ?? "", causationId: command.id };
  await service.dure.transaction(
    (tx) => {
      tx.emit(reply, data);
      return Promise.resolve();
    },
    { context },
  );
}

async function eventsOf(sagaId: string, type: string): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    "select count(*)::integer as count from dure.saga_event where saga_id = $1 and type = $2",
    [sagaId, type],
  );
  return rows[0]?.count ?? 0;
}

async function signalsLeft(): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    "select count(*)::integer as count from dure.saga_signal",
  );
  return rows[0]?.count ?? -1;
}

describe("a step by message", () => {
  it("takes an answer that comes after its time, while its next attempt is waited for", async () => {
    const { sagas } = service.dure;
    const run = await sagas.start(patient, { order: "late" }, { id: "M-late" });
    const command = await commandOf("stock.reserve");
    await waitFor(async () => (await eventsOf("M-late", "failed")) === 1, {
      what: "the time to pass",
    });
    await answer(command, Reserved);
    expect(await run.outcome()).toEqual({ kind: "completed", output: { order: "late" } });
    expect(await eventsOf("M-late", "begun")).toBe(1);
    expect(commands).toHaveLength(1);
  });

  it("is undone by message, and an answer to what is being undone changes nothing", async () => {
    const { sagas } = service.dure;
    const run = await sagas.start(hasty, { order: "hasty" }, { id: "M-hasty" });
    const forward = await commandOf("stock.reserve");
    const back = await commandOf("stock.release");
    await answer(forward, Reserved);
    // Taken, and dropped: the saga still waits for the answer to its second command.
    await waitFor(
      async () => (await inboxed("stock.reserved", forward)) && (await signalsLeft()) === 0,
      { what: "the answers" },
    );
    expect(await eventsOf("M-hasty", "done")).toBe(0);
    expect(await statusOf("M-hasty")).toBe("COMPENSATING");
    await answer(back, Released);
    expect(await run.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "TIMED_OUT" },
    });
    expect(await eventsOf("M-hasty", "undone")).toBe(1);
  });

  it("is undone once when a later step refuses, however often the participant answers", async () => {
    const { sagas } = service.dure;
    const run = await sagas.start(refused, { order: "refused" }, { id: "M-refused" });
    const forward = await commandOf("stock.reserve");
    await Promise.all([answer(forward, Reserved), answer(forward, Reserved)]);
    const back = await commandOf("stock.release");
    await Promise.all([answer(back, Released), answer(back, Released)]);
    expect(await run.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "NO_MONEY" },
    });
    await answer(back, Released);
    await answer(forward, Reserved);
    await waitFor(
      async () => (await inboxed("stock.reserved", forward, 3)) && (await signalsLeft()) === 0,
      { what: "the answers" },
    );
    expect(await eventsOf("M-refused", "done")).toBe(1);
    expect(await eventsOf("M-refused", "undone")).toBe(1);
    expect(await statusOf("M-refused")).toBe("COMPENSATED");
    expect(commands).toHaveLength(2);
  });
});

async function statusOf(sagaId: string): Promise<string | undefined> {
  const { rows } = await database.pool.query<{ status: string }>(
    "select status from dure.saga_instance where saga_id = $1",
    [sagaId],
  );
  return rows[0]?.status;
}

/** Whether the service has handled so many events of that type that answer the command. */
async function inboxed(type: string, command: Command, count = 1): Promise<boolean> {
  const { rows } = await database.pool.query<{ count: number }>(
    `select count(*)::integer as count from dure.outbox_message o
     join dure.inbox_message i on i.message_id = o.id::text
     where o.type = $1 and o.key = $2`,
    [type, command.data.order],
  );
  return (rows[0]?.count ?? 0) >= count;
}
