/**
 * What sagas saw of locks is explained by one order of decisions, which agrees with real time: at most one
 * holder per fencing token, tokens only grow, and an older one writes nothing (laws L1 and L5).
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { HeldLock } from "../../src/isolation/index.ts";
import { postgresSemanticLocks } from "../../src/postgres/index.ts";
import { manualClock } from "../../src/testing/index.ts";
import type { TransactionHandle } from "../../src/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { inTransaction } from "./isolation-fixture.ts";

const resources = ["room:1", "room:2", "room:3"];
const sagaCount = 24;
const roundCount = 25;

/** One decision, as it was asked for and answered. `n` was drawn under the lock of the resource's row. */
interface Decision {
  readonly n: number;
  readonly resource: string;
  readonly asked: "acquire" | "confirm" | "renew" | "release" | "verify" | "sweep";
  readonly owner: string;
  readonly token: number | undefined;
  readonly kind: string;
  readonly lock: HeldLock | undefined;
  readonly invokedAt: number;
  readonly answeredAt: number;
}

let database: TestDatabase;
const locks = postgresSemanticLocks();
const clock = manualClock({ seed: 7 });
const random = () => clock.random();
const decisions: Decision[] = [];
let moment = 0;

beforeAll(async () => {
  database = await createTestDatabase({ name: "lock_history", poolSizeMax: 12 });
  await database.pool.query(
    `create table decision (n bigint generated always as identity primary key);
     create table guarded_write (n bigint generated always as identity, resource text, token bigint)`,
  );
  // From here on each resource has a row, so that each decision about it has a lock to be made under.
  for (const resource of resources) {
    const seeded = await decide("acquire", { resource, owner: "SAGA-first" });
    await decide("release", { resource, owner: "SAGA-first", token: seeded.lock?.token });
  }
});
afterAll(() => database?.[Symbol.asyncDispose]());

type Asked = Omit<Decision, "n" | "kind" | "lock" | "invokedAt" | "answeredAt">;

/** Asks, writes behind the lock when it is held, and remembers what was asked and answered, and when. */
async function decide(
  asked: Exclude<Decision["asked"], "sweep">,
  { resource, owner, token }: Pick<HeldLock, "resource" | "owner"> & { token?: number | undefined },
): Promise<Decision> {
  const invokedAt = (moment += 1);
  const leaseMs = 1 + Math.floor(random() * 120);
  const { n, kind, lock } = await inTransaction(database.pool, async (tx) => {
    const request = { resource, owner, token: token ?? 0, leaseMs };
    const outcome = await locks[asked](tx, request);
    if (outcome.kind === "held") {
      await tx.query("insert into guarded_write (resource, token) values ($1, $2)", [
        resource,
        request.token,
      ]);
    }
    const found = "lock" in outcome ? outcome.lock : undefined;
    return { n: await draw(tx), kind: outcome.kind, lock: found };
  });
  const answeredAt = (moment += 1);
  const asking: Asked = { resource, asked, owner, token };
  const decision = { ...asking, n, kind, lock, invokedAt, answeredAt };
  decisions.push(decision);
  return decision;
}

async function sweep(): Promise<void> {
  const invokedAt = (moment += 1);
  const swept = await inTransaction(database.pool, async (tx) => {
    const found: { n: number; lock: HeldLock }[] = [];
    for (const lock of await locks.sweepExpired(tx)) found.push({ n: await draw(tx), lock });
    return found;
  });
  const answeredAt = (moment += 1);
  for (const { n, lock } of swept) {
    const { resource, owner, token } = lock;
    const asking: Asked = { resource, asked: "sweep", owner, token };
    decisions.push({ ...asking, n, kind: "swept", lock, invokedAt, answeredAt });
  }
}

async function draw(tx: TransactionHandle): Promise<number> {
  const { rows } = await tx.query("insert into decision default values returning n::int");
  return Number(rows[0]?.["n"]);
}

/** A saga that now and then sleeps for longer than its lease, and comes back with an old claim in its hands. */
async function runSaga(owner: string): Promise<void> {
  const claims: HeldLock[] = [];
  for (let round = 0; round < roundCount; round += 1) {
    const resource = pick(resources);
    const { kind, lock } = await decide("acquire", { resource, owner });
    if (lock !== undefined && kind !== "held-by-another") claims.push(lock);
    const claim = random() < 0.5 ? claims.at(-1) : pick(claims);
    if (claim !== undefined) {
      if (random() < 0.3) await untilNotOurs(claim);
      await decide(pick(["confirm", "renew", "release", "release", "verify", "verify"]), claim);
    }
    if (random() < 0.1) await sweep();
  }
}

async function untilNotOurs(claim: HeldLock): Promise<void> {
  const isOver = async () => {
    const now = await locks.read(database.pool, claim);
    return now?.token !== claim.token || now.expiresAt === undefined || (now.remainingMs ?? 0) < 0;
  };
  await waitFor(isOver, { what: "the end of a lease", intervalMs: 3 });
}

function pick<Value>(values: readonly Value[]): Value {
  return values[Math.floor(random() * values.length)] as Value;
}

/** What the one order says about the resource before a decision. */
interface Model {
  readonly held: HeldLock | undefined;
  readonly token: number;
}

/** The model after the decision, or what is wrong with it. */
function step({ held, token }: Model, decision: Decision): Model | string {
  const { asked, owner, kind, lock } = decision;
  const isOurs = held !== undefined && held.owner === owner;
  const hasToken = decision.token === held?.token;
  switch (kind) {
    case "acquired": {
      if (lock?.token !== token + 1) return `token ${lock?.token} after ${token}`;
      if (held !== undefined && !(lock.acquiredAt >= (held.expiresAt ?? "9")))
        return "taken from a living holder";
      return { held: lock, token: token + 1 };
    }
    case "already-yours":
      return isOurs && lock?.token === held.token ? { held, token } : "not his";
    case "held-by-another": {
      if (held === undefined || isOurs || lock?.token !== held.token) return "not held by that";
      return { held, token };
    }
    case "confirmed":
    case "renewed":
    case "held":
      return isOurs && hasToken && lock !== undefined
        ? { held: lock, token }
        : "changed by a stranger";
    case "released":
      return isOurs && hasToken ? { held: undefined, token } : "released by a stranger";
    case "superseded":
      return isOurs && !hasToken ? { held, token } : "superseded by nobody";
    case "expired":
      return isOurs && hasToken && held.expiresAt !== undefined ? { held, token } : "not expired";
    case "swept":
      return isOurs && hasToken && held.expiresAt !== undefined
        ? { held: undefined, token }
        : "swept alive";
    case "not-held":
      return held === undefined ? { held, token } : "held after all";
    default:
      return `${asked} answered ${kind}`;
  }
}

/** All that no order in time explains. */
function violationsOf(history: readonly Decision[]): readonly string[] {
  const violations: string[] = [];
  let model: Model = { held: undefined, token: 0 };
  let latestInvocation = 0;
  for (const decision of history) {
    const next = step(model, decision);
    if (typeof next === "string") violations.push(`${JSON.stringify(decision)}: ${next}`);
    else model = next;
    // Decided after one that was only asked for when this one had long been answered.
    if (decision.answeredAt < latestInvocation) violations.push(`${decision.n} is out of time`);
    latestInvocation = Math.max(latestInvocation, decision.invokedAt);
  }
  return violations;
}

describe("twenty-four sagas that fight for three rooms, sleep past their leases and wake up", () => {
  beforeAll(async () => {
    await Promise.all(Array.from({ length: sagaCount }, (_, n) => runSaga(`SAGA-${n}`)));
  }, 60_000);

  it("see a history that one order explains", () => {
    expect(decisions.length).toBeGreaterThan(sagaCount * roundCount);
    const inOrder = decisions.toSorted((a, b) => a.n - b.n);
    for (const resource of resources) {
      expect(violationsOf(inOrder.filter((x) => x.resource === resource))).toEqual([]);
    }
  });

  it("met what there is to meet", () => {
    const kinds = new Set(decisions.map(({ kind }) => kind));
    const interesting = ["acquired", "held-by-another", "held", "released", "swept", "confirmed"];
    for (const kind of interesting) expect(kinds).toContain(kind);
    const refused = decisions.filter(
      ({ asked, kind }) => asked !== "acquire" && kind === "held-by-another",
    );
    expect(refused.length).toBeGreaterThan(0);
  });

  it("write behind the lock under tokens that never go back, each under one owner", async () => {
    const { rows } = await database.pool.query<{ n: number; back: number }>(
      `select count(*)::int as n, count(*) filter (where token < before)::int as back
       from (select token, lag(token) over (partition by resource order by n) as before from guarded_write) w`,
    );
    expect(rows[0]?.n).toBeGreaterThan(0);
    expect(rows[0]?.back).toBe(0);
    const owners = new Map<string, Set<string>>();
    for (const { resource, kind, lock } of decisions.filter((x) => x.kind === "acquired")) {
      const key = `${resource} ${kind} ${lock?.token}`;
      owners.set(key, (owners.get(key) ?? new Set()).add(lock?.owner ?? "?"));
    }
    expect([...owners.values()].filter(({ size }) => size !== 1)).toEqual([]);
  });

  it("would be found out: a history in which a room is given twice is refused", () => {
    const first = decisions.find(({ kind }) => kind === "acquired") as Decision;
    const lock = { ...(first.lock as HeldLock), token: 1 };
    const acquired = { ...first, lock };
    const again = { ...acquired, lock: { ...lock, token: 2, acquiredAt: "0", owner: "SAGA-x" } };
    expect(violationsOf([acquired])).toEqual([]);
    expect(violationsOf([acquired, again])).toHaveLength(1);
    expect(violationsOf([acquired, { ...acquired, kind: "held", owner: "SAGA-x" }])).toHaveLength(
      1,
    );
    expect(
      violationsOf([
        { ...acquired, invokedAt: 9, answeredAt: 10 },
        { ...acquired, kind: "already-yours", answeredAt: 8 },
      ]),
    ).toHaveLength(1);
  });
});
