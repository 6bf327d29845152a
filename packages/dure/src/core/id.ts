import { randomFillSync } from "node:crypto";
import type { Clock } from "./clock.ts";
import { systemClock } from "./clock.ts";

const pool = new Uint8Array(16 * 256);

/** A UUID of version 7 (RFC 9562, section 5.7): unique without coordination, roughly in order of time, so that indexes stay compact. */
export function newId(clock: Clock = systemClock): string {
  const bytes = nextRandomBytes();
  let time = clock.now();
  for (let index = 5; index >= 0; index -= 1) {
    bytes[index] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

let nextAt = pool.length;

/** Random bytes are drawn for 256 ids at once: a system call for each id costs more than the id. */
function nextRandomBytes(): Uint8Array {
  if (nextAt === pool.length) {
    randomFillSync(pool);
    nextAt = 0;
  }
  nextAt += 16;
  return pool.slice(nextAt - 16, nextAt);
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** A ULID: 26 letters and digits that sort by time. Source: github.com/ulid/spec. */
export function newUlid(clock: Clock = systemClock): string {
  let bits = BigInt(`0x${newId(clock).replaceAll("-", "")}`);
  let text = "";
  for (let index = 0; index < 26; index += 1) {
    text = `${crockford[Number(bits & 31n)] ?? ""}${text}`;
    bits >>= 5n;
  }
  return text;
}
