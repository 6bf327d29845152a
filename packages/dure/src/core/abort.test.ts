/** A wake is never lost: not before the wait, not between two waits, and not when nobody waits. */
import { describe, expect, it } from "vitest";
import { createWakeup, settledWithin } from "./abort.ts";

const never: AbortSignal = new AbortController().signal;

describe("a wakeup", () => {
  it("wakes the waiter, and the next one when nobody waits, once for many wakes", async () => {
    const wakeup = createWakeup();
    const waiting = wakeup.wait(60_000, never);
    wakeup.wake();
    expect(await waiting).toBe("woken");
    wakeup.wake();
    wakeup.wake();
    expect(await wakeup.wait(60_000, never)).toBe("woken");
    expect(await wakeup.wait(1, never)).toBe("timeout");
  });

  it("ends by its time, and by its signal before and during the wait", async () => {
    const wakeup = createWakeup();
    expect(await wakeup.wait(1, never)).toBe("timeout");
    const controller = new AbortController();
    const waiting = wakeup.wait(60_000, controller.signal);
    controller.abort();
    expect(await waiting).toBe("timeout");
    expect(await wakeup.wait(60_000, controller.signal)).toBe("timeout");
    wakeup.wake();
    expect(await wakeup.wait(60_000, never)).toBe("woken");
  });

  it("keeps no listener on a signal that outlives the wait", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    };
    for (let round = 0; round < 5; round += 1) await createWakeup().wait(1, signal);
    expect(listeners).toBe(0);
  });
});

describe("waiting for a promise within a time", () => {
  it("says whether it has settled, and does not throw what it rejects with", async () => {
    expect(await settledWithin(Promise.resolve(), 1_000)).toBe(true);
    expect(await settledWithin(Promise.reject(new Error("its owner's")), 1_000)).toBe(true);
    expect(await settledWithin(new Promise(() => {}), 1)).toBe(false);
  });
});
