import { randomUUID } from "node:crypto";
import type { createClient } from "redis";

type Client = ReturnType<typeof createClient>;

/** Which of the usual mistakes it makes. */
export interface NaiveRedisLockOptions {
  /** Undefined: it never expires. */
  readonly leaseMs?: number;
}

/**
 * The lock that most recipes end at: SET NX, work, DEL.
 *
 * It says true, and believes it for ever: it deletes the lock of whoever has it now, does not renew, counts tokens that
 * begin again when Redis has lost them, and nothing that is written under it is compared with anything.
 */
export function naiveRedisLock(client: Client, { leaseMs }: NaiveRedisLockOptions = {}) {
  return {
    async lock(key: string): Promise<boolean> {
      const expiration = leaseMs && ({ type: "PX", value: leaseMs } as const);
      const answer = await client.set(key, randomUUID(), {
        condition: "NX",
        ...(expiration && { expiration }),
      });
      return answer === "OK";
    },
    async unlock(key: string): Promise<void> {
      await client.del(key);
    },
    /** A token, as they count it. */
    nextToken: (key: string): Promise<number> => client.incr(`${key}:token`),
  };
}
