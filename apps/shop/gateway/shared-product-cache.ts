import type { Logger } from "pino";
import { z } from "zod";
import type { PeerAnswer } from "../chassis/peer-client.ts";
import type { ProductCache } from "./product-cache.ts";

/** The part of a Redis client that is used. */
export interface CacheClient {
  get(key: string): Promise<string | null>;
  eval(
    script: string,
    options: { readonly keys: string[]; readonly arguments: string[] },
  ): Promise<unknown>;
}

/** What {@link createSharedProductCache} takes. */
export interface SharedProductCacheOptions {
  readonly client: CacheClient;
  readonly prefix: string;
  readonly logger: Logger;
  /** Bounds the harm of an invalidation that never comes. @defaultValue 1000 */
  readonly ttlMs?: number;
  /** A cache that takes longer is no help: the product is loaded. @defaultValue 250 */
  readonly waitMsMax?: number;
}

/** Longer than any load takes: until then a load that began before a change is told from one after it. */
const generationMs = 60_000;

// What was loaded before a change must not be kept after it: the generation says so.
const keep = `
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`;
const forget = `
redis.call('DEL', KEYS[1])
redis.call('INCR', KEYS[2])
return redis.call('PEXPIRE', KEYS[2], ARGV[1])`;

const answerSchema = z.object({
  status: z.number(),
  headers: z.record(z.string(), z.string()),
  text: z.string(),
});

/** A cache in Redis, which all gateways share. While Redis is away every read loads. */
export function createSharedProductCache(options: SharedProductCacheOptions): ProductCache {
  const { client, prefix, logger, ttlMs = 1000, waitMsMax = 250 } = options;
  const keysOf = (productId: string): [string, string] => [
    `{${prefix}}:product:${productId}`,
    `{${prefix}}:product-generation:${productId}`,
  ];
  const loads = new Map<string, Promise<PeerAnswer>>();
  let isAway = false;
  async function ask<Answer>(question: Promise<Answer>): Promise<Answer | undefined> {
    try {
      const answer = await withinMs(question, waitMsMax);
      isAway = false;
      return answer;
    } catch (error) {
      if (!isAway) logger.warn({ err: error }, "the product cache is away; products are loaded");
      isAway = true;
      return undefined;
    }
  }

  async function loadAndKeep(
    productId: string,
    load: () => Promise<PeerAnswer>,
  ): Promise<PeerAnswer> {
    const keys = keysOf(productId);
    const generation = (await ask(client.get(keys[1]))) ?? "0";
    const answer = await load();
    if (answer.status === 200) {
      const rest = [generation, JSON.stringify(answer), String(ttlMs)];
      await ask(client.eval(keep, { keys, arguments: rest }));
    }
    return answer;
  }

  return {
    async read(productId, load) {
      const found = await ask(client.get(keysOf(productId)[0]));
      if (typeof found === "string") return answerSchema.parse(JSON.parse(found));
      const known = loads.get(productId);
      if (known !== undefined) return known;
      const loading = loadAndKeep(productId, load).finally(() => {
        if (loads.get(productId) === loading) loads.delete(productId);
      });
      loads.set(productId, loading);
      return loading;
    },
    invalidate(productId) {
      loads.delete(productId);
      const keys = keysOf(productId);
      void ask(client.eval(forget, { keys, arguments: [String(generationMs)] }));
    },
  };
}

async function withinMs<Value>(promise: Promise<Value>, ms: number): Promise<Value> {
  const timeout = AbortSignal.timeout(ms);
  const late = new Promise<never>((_, reject) => {
    timeout.addEventListener("abort", () => reject(new Error(`no answer within ${ms} ms`)));
  });
  promise.catch(() => undefined); // it may fail after nobody waits
  return Promise.race([promise, late]);
}
