import type { SemaphoreAdminStore } from "../admin/semaphore-admin-store.ts";
import { assert } from "../core/errors.ts";
import type { PlaceAnswer, SemaphoreStore } from "../semaphore/semaphore-store.ts";
import type { Notifications } from "./notifications.ts";
import { tellOnce } from "./notifications.ts";
import { queryWithin } from "./pool.ts";
import type { PostgresPool } from "./pool.ts";
import { semaphoreSql } from "./semaphore-sql.ts";
import { translateSqlError } from "./sqlstate.ts";

/** Sets the news of semaphores apart from the outbox's, with which it shares a channel. */
const subjectMark = "semaphore:";
/** A decision is short. One that takes longer is given up, and its place is found by a look. */
const decisionMsMax = 5_000;
/** A notification has room for 8000 bytes. */
const subjectsMax = 200;

/** Whether news is about semaphores and nothing else. */
export function isSemaphoreNews(subjects: readonly string[] | undefined): boolean {
  return subjects !== undefined && subjects.every((subject) => subject.startsWith(subjectMark));
}

/** Semaphores in the tables of `0017_semaphore.sql`. `schema` is quoted. */
export function postgresSemaphoreStore(
  pool: PostgresPool,
  schema: string,
  news: { readonly name: string; readonly notifications: Pick<Notifications, "listen"> },
): SemaphoreStore {
  const sql = semaphoreSql(schema);
  const ask = asker(pool);
  const tell = createTeller(pool, news.name);
  return {
    async join(process, leaseMs) {
      return Number((await ask(sql.join, [process, leaseMs], leaseMs))["member"]);
    },
    async beat(member, leaseMs) {
      // An answer that comes after the lease is no answer.
      return (await ask(sql.beat, [member, leaseMs], leaseMs))["is_held"] === true;
    },
    async leave(member) {
      return { woken: numbers((await ask(sql.leave, [member]))["woken"]) };
    },
    async declare(name, { permits, lineMax }) {
      return { woken: numbers((await ask(sql.declare, [name, permits, lineMax]))["woken"]) };
    },
    async acquire({ name, member, key, mayWait }) {
      return parse<PlaceAnswer>(await ask(sql.acquire, [name, member, key, mayWait]));
    },
    async release({ name, member, key, onlyWaiting }) {
      return parse(await ask(sql.release, [name, member, key, onlyWaiting]));
    },
    look: async (member) => parse(await ask(sql.look, [member])),
    tell,
    listen: (listener) =>
      news.notifications.listen((subjects) => {
        // What is not said to be ours is the outbox's: what was missed is found by looking.
        if (subjects !== undefined) listener(membersOf(subjects));
      }),
  };
}

/** What an operator may see of semaphores, and do with them. `newsName` is where the members listen. */
export function postgresSemaphoreAdmin(
  pool: PostgresPool,
  schema: string,
  newsName: string,
): SemaphoreAdminStore {
  const sql = semaphoreSql(schema);
  const ask = asker(pool);
  /** Undefined: there is no such thing. */
  const tellWoken = async (woken: unknown): Promise<boolean> => {
    if (woken === null) return false;
    await tellOnce(pool, newsName, subjectsOf(numbers(woken)));
    return true;
  };
  return {
    async list() {
      const { rows } = await pool.query(sql.list);
      return rows.map((row) => ({
        name: String(row["name"]),
        permits: Number(row["permits"]),
        lineMax: Number(row["line_max"]),
        declaredPermits: Number(row["declared_permits"]),
        declaredLineMax: Number(row["declared_line_max"]),
        isSet: row["is_set"] === true,
        held: Number(row["held"]),
        waiting: Number(row["waiting"]),
        oldestWaitMs: Math.round(Number(row["oldest_wait_ms"])),
        longestHeldMs: Math.round(Number(row["longest_held_ms"])),
      }));
    },
    async places(name, limit) {
      const { rows } = await pool.query(sql.places, [name, limit]);
      return rows.map((row) => ({
        id: String(row["id"]),
        semaphore: String(row["semaphore"]),
        process: String(row["process"]),
        state: row["is_held"] === true ? "HELD" : "WAITING",
        position: row["position"] === null ? null : Number(row["position"]),
        forMs: Math.round(Number(row["for_ms"])),
        leaseMsLeft: Math.round(Number(row["lease_ms_left"])),
      }));
    },
    async set(name, size, { actor, reason }) {
      const params = [name, size?.permits ?? null, size?.lineMax ?? null, actor, reason ?? null];
      return tellWoken((await ask(sql.set, params))["woken"]);
    },
    async takeAway(id, { actor, reason }) {
      return tellWoken((await ask(sql.takeAway, [id, actor, reason]))["woken"]);
    },
  };
}

type Row = Readonly<Record<string, unknown>>;

function asker(
  pool: PostgresPool,
): (text: string, params: readonly unknown[], msMax?: number) => Promise<Row> {
  return async (text, params, msMax = decisionMsMax) => {
    try {
      const [row] = (await queryWithin(pool, text, params, { msMax })).rows;
      assert(row !== undefined, "a function of semaphores answers with one row");
      return row;
    } catch (error) {
      throw translateSqlError(error);
    }
  };
}

/** One NOTIFY at a time: what comes meanwhile goes together with the next. */
function createTeller(pool: PostgresPool, name: string): SemaphoreStore["tell"] {
  const members = new Set<number>();
  let isTelling = false;
  const tellAll = async (): Promise<void> => {
    isTelling = true;
    while (members.size > 0) {
      const told = [...members].slice(0, subjectsMax);
      for (const member of told) members.delete(member);
      await tellOnce(pool, name, subjectsOf(told));
    }
    isTelling = false;
  };
  return (woken) => {
    for (const member of woken) members.add(member);
    if (!isTelling) void tellAll();
  };
}

function subjectsOf(members: readonly number[]): readonly string[] {
  return members.map((member) => subjectMark + member);
}

function membersOf(subjects: readonly string[]): readonly number[] {
  return subjects
    .filter((subject) => subject.startsWith(subjectMark))
    .map((subject) => Number(subject.slice(subjectMark.length)));
}

function numbers(values: unknown): readonly number[] {
  return Array.isArray(values) ? values.map(Number) : [];
}

function parse<Answer>(row: Row): Answer {
  // The functions of 0017_semaphore.sql write it with the names of the port.
  return JSON.parse(String(row["answer"])) as Answer;
}
