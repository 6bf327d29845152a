/** The consumer's counts tell gaps, reorders, duplicates and what cannot be verified apart, each once. */
import { describe, expect, it } from "vitest";
import type { Message, MessageLink } from "../core/message.ts";
import { OrderCheck } from "./order-check.ts";

const since = Date.parse("2026-01-01T00:00:00Z");

function message(id: string, link: MessageLink): Message {
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
  const inbox = new Set<string>();
  return {
    counts: () => check.counts,
    receive: (...batch: readonly Message[]): void => {
      const fresh = new Set(batch.map(({ id }) => id).filter((id) => !inbox.has(id)));
      for (const id of fresh) inbox.add(id);
      const links = batch.flatMap(({ link }) => (link.kind === "after" ? [link.previousId] : []));
      check.record(batch, { fresh, known: new Set(links.filter((id) => inbox.has(id))) });
    },
  };
}
const none = { verified: 0, gaps: 0, reorders: 0, duplicates: 0, unverified: 0 };

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
});
