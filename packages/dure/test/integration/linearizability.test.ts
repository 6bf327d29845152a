/** The checker finds an order where there is one, and refuses histories that are wrong; else it would prove nothing. */
import { describe, expect, it } from "vitest";
import { checkLinearizable, type Operation } from "../support/linearizability.ts";
import {
  type LeaseAnswered,
  type LeaseAsked,
  leaseModel,
  registerModel,
} from "../support/lock-models.ts";

type Lease = Operation<LeaseAsked, LeaseAnswered>;

function acquire(holder: string, [from, to]: readonly [number, number], token?: number): Lease {
  return {
    process: holder,
    asked: { kind: "acquire", holder, leaseMs: 100 },
    answer: token === undefined ? undefined : { token },
    invokedAt: from,
    answeredAt: to,
  };
}

function say(
  kind: "release" | "believe",
  holder: string,
  [from, to]: readonly [number, number],
  is = true,
): Lease {
  const asked: LeaseAsked = { kind, holder };
  return { process: holder, asked, answer: { is }, invokedAt: from, answeredAt: to };
}

function renew(holder: string, [from, to]: readonly [number, number], is = true): Lease {
  const asked: LeaseAsked = { kind: "renew", holder, leaseMs: 100 };
  return { process: holder, asked, answer: { is }, invokedAt: from, answeredAt: to };
}

function write(token: number, read: number, [from, to]: readonly [number, number], is?: boolean) {
  const answer = is === undefined ? undefined : { isWritten: is };
  return { process: "p", asked: { token, read }, answer, invokedAt: from, answeredAt: to };
}

const good: Readonly<Record<string, readonly Lease[]>> = {
  "one after the other": [
    acquire("a", [0, 1], 1),
    say("believe", "a", [2, 3]),
    say("release", "a", [4, 5]),
    acquire("b", [6, 7], 2),
  ],
  "a release that overlaps the next": [
    acquire("a", [0, 1], 1),
    acquire("b", [2, 9], 2),
    say("release", "a", [3, 8]),
  ],
  "taken over when the lease was over": [acquire("a", [0, 1], 1), acquire("b", [90, 101], 2)],
  "an answer that nobody heard": [
    acquire("a", [0, 1]),
    acquire("b", [150, 151], 5),
    say("believe", "b", [152, 153]),
  ],
  "renewed, and not given away": [
    acquire("a", [0, 1], 1),
    renew("a", [80, 81]),
    say("believe", "a", [150, 151]),
  ],
};

const bad: Readonly<Record<string, readonly Lease[]>> = {
  "two at a time": [acquire("a", [0, 1], 1), acquire("b", [2, 3], 2)],
  "a token that does not grow": [
    acquire("a", [0, 1], 2),
    say("release", "a", [2, 3]),
    acquire("b", [4, 5], 2),
  ],
  "released by another": [acquire("a", [0, 1], 1), say("release", "b", [2, 3])],
  "believed after it was given away": [
    acquire("a", [0, 1], 1),
    acquire("b", [101, 102], 2),
    say("believe", "a", [103, 104]),
  ],
  "given away though renewed": [
    acquire("a", [0, 1], 1),
    renew("a", [80, 81]),
    acquire("b", [110, 120], 2),
  ],
  "lost though nobody else can have it": [acquire("a", [0, 1], 1), renew("a", [20, 21], false)],
  "a free lock that is said to be held": [
    { ...acquire("a", [0, 1]), answer: { isHeldByAnother: true } },
  ],
};

describe("of locks, the checker", () => {
  it.each(Object.entries(good))("explains %s", (_, history) => {
    expect(checkLinearizable(history, leaseModel)).toMatchObject({ kind: "linearizable" });
  });
  it.each(Object.entries(bad))("refuses %s", (_, history) => {
    expect(checkLinearizable(history, leaseModel)).toMatchObject({ kind: "violation" });
  });
});

describe("of guarded writes, the checker", () => {
  it("explains what overlaps, and what may or may not have happened", () => {
    const history = [
      write(1, 0, [0, 10], true),
      write(2, 1, [0, 10], true),
      write(3, 2, [11, 12]),
      write(4, 3, [13, 14], true),
      write(2, 1, [13, 20], false),
    ];
    expect(checkLinearizable(history, registerModel)).toMatchObject({ kind: "linearizable" });
    const without = history.filter(({ asked }) => asked.token !== 3);
    expect(checkLinearizable(without, registerModel)).toMatchObject({ kind: "violation" });
  });

  it("refuses a lost update, an older token, and an order against time", () => {
    for (const history of [
      [write(1, 0, [0, 9], true), write(2, 0, [0, 9], true)],
      [write(2, 0, [0, 1], true), write(1, 1, [2, 3], true)],
      [write(1, 1, [0, 1], true), write(2, 0, [2, 3], true)],
    ]) {
      expect(checkLinearizable(history, registerModel)).toMatchObject({ kind: "violation" });
    }
  });

  it("finds an order among many that overlap, and gives up where it would take for ever", () => {
    const many = Array.from({ length: 40 }, (_, n) => write(n + 1, n, [0, 100], true));
    expect(checkLinearizable(many, registerModel)).toMatchObject({ kind: "linearizable" });
    const unknown = Array.from({ length: 30 }, () => write(1, 0, [0, 1]));
    const stuck = [...unknown, write(1, 5, [2, 3], true)];
    expect(checkLinearizable(stuck, registerModel, 100).kind).not.toBe("linearizable");
  });
});
