/** The consumer's counts tell gaps, reorders, duplicates and what cannot be verified apart, each once. */
import { describe, expect, it } from "vitest";
import type { Message, MessageLink } from "../core/message.ts";
import { OrderCheck } from "./order-check.ts";

const since = Date.parse("2026-01-01T00:00:00Z");

function message(id: string, link: MessageLink, more: Partial<Message> = {}): Message {
  return {
    id,
    source: "s",
    topic: "t",
    key: "k",
    type: "t.a",
    version: 1,
    time: "2026-01-02T00:00:00Z",
    data: "{}",
    link,
    ...more,
  };
}
const after = (previousId: string, previousAt = "2026-01-02T00:00:00Z"): MessageLink => ({
  kind: "after",
  previousId,
  previousAt,
});
const first: MessageLink = { kind: "first" };

/** A consumer with a memory, as the inbox is one. */
function consumer() {
  const check = new OrderCheck(since);
  /** What was seen, and whether as a tombstone only. */
  const inbox = new Map<string, boolean>();
  return {
    counts: () => check.counts,
    receive: (...batch: readonly Message[]): void => {
      const fresh = new Set<string>();
      const tombstoned = new Set<string>();
      for (const { id, tombstone } of batch) {
        if (tombstone !== true && inbox.get(id) !== false) fresh.add(id);
        if (tombstone === true && !inbox.has(id)) tombstoned.add(id);
      }
      for (const id of tombstoned) inbox.set(id, true);
      for (const id of fresh) {
        inbox.set(id, false);
        tombstoned.delete(id);
      }
      const links = batch.flatMap(({ link }) => (link.kind === "after" ? [link.previousId] : []));
      const known = new Set(links.filter((id) => inbox.has(id)));
      check.record(batch, { fresh, known, tombstoned });
    },
  };
}
const none = {
  verified: 0,
  gaps: 0,
  reorders: 0,
  duplicates: 0,
  unverified: 0,
  tombstones: 0,
  redriven: 0,
};

describe("the order check", () => {
  it("verifies a chain within a batch and across batches", () => {
    const { receive, counts } = consumer();
    receive(message("1", first), message("2", after("1")));
    receive(message("3", after("2")));
    expect(counts()).toEqual({ ...none, verified: 3 });
  });

  it("counts a message that was missed as a gap, and as a reorder when it comes after all", () => {
    const { receive, counts } = consumer();
    receive(message("1", first), message("3", after("2")));
    expect(counts()).toEqual({ ...none, verified: 1, gaps: 1 });
    receive(message("2", after("1")));
    expect(counts()).toEqual({ ...none, verified: 2, reorders: 1 });
  });

  it("sees a disorder within one batch too", () => {
    const { receive, counts } = consumer();
    receive(message("1", first), message("3", after("2")), message("2", after("1")));
    expect(counts()).toEqual({ ...none, verified: 2, reorders: 1 });
  });

  it("counts what comes again once per copy, within a batch and later, and verifies it no second time", () => {
    const { receive, counts } = consumer();
    receive(message("1", first), message("1", first), message("2", after("1")));
    receive(message("2", after("1")));
    expect(counts()).toEqual({ ...none, verified: 2, duplicates: 2 });
  });

  it("keeps apart what nobody can verify: blind writers, and links to before its time", () => {
    const { receive, counts } = consumer();
    receive(message("1", { kind: "unverified" }), message("3", after("2", "2025-12-31T23:59:59Z")));
    expect(counts()).toEqual({ ...none, unverified: 2 });
  });

  it("verifies over a tombstone, in a batch and across batches, and counts it apart", () => {
    const { receive, counts } = consumer();
    const tombstone = { tombstone: true };
    receive(message("1", first), message("2", after("1"), tombstone), message("3", after("2")));
    receive(message("4", after("3"), tombstone));
    receive(message("5", after("4")));
    expect(counts()).toEqual({ ...none, verified: 3, tombstones: 2 });
  });

  it("sees a gap before a tombstone, and one that comes too late", () => {
    const { receive, counts } = consumer();
    receive(message("1", first), message("3", after("2"), { tombstone: true }));
    expect(counts()).toEqual({ ...none, verified: 1, tombstones: 1, gaps: 1 });
    receive(message("2", after("1"), { tombstone: true }));
    expect(counts()).toEqual({ ...none, verified: 1, tombstones: 2, reorders: 1 });
  });

  it("counts what an operator sent again apart, in its place, after its tombstone, or where it was missed", () => {
    const { receive, counts } = consumer();
    const redriven = { redriven: true };
    receive(message("1", first, redriven), message("2", after("1")));
    receive(message("3", after("2"), { tombstone: true }), message("4", after("3")));
    receive(message("3", after("2"), redriven));
    receive(message("6", after("5")));
    expect(counts()).toEqual({ ...none, verified: 2, tombstones: 1, redriven: 2, gaps: 1 });
    receive(message("5", after("4"), redriven), message("5", after("4"), redriven));
    expect(counts()).toEqual({
      ...none,
      verified: 2,
      tombstones: 1,
      redriven: 3,
      duplicates: 1,
    });
  });
});
