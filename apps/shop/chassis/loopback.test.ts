import { expect, test } from "vitest";
import { isLoopback } from "./loopback.ts";

test.each(["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])(
  "%s is this machine",
  (address) => {
    expect(isLoopback(address)).toBe(true);
  },
);

test.each(["10.0.0.1", "128.0.0.1", "::", "::ffff:10.0.0.1", "127.evil.example", "0.0.0.0", ""])(
  "%j is not",
  (address) => {
    expect(isLoopback(address)).toBe(false);
  },
);
