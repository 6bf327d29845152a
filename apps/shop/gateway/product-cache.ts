import { LRUCache } from "lru-cache";
import type { PeerAnswer } from "../chassis/peer-client.ts";

/** Reads of products, remembered for a moment. */
export interface ProductCache {
  /** The remembered answer, or what `load` brings. Readers of one product share one load. */
  read(productId: string, load: () => Promise<PeerAnswer>): Promise<PeerAnswer>;
  /**
   * Forgets a product: the next read loads it. A load that is under way now may have seen the
   * state before the change, so its answer goes to those who wait for it and is not kept.
   */
  invalidate(productId: string): void;
}

/** What the cache may hold, and for how long it is believed without an event. */
export interface ProductCacheOptions {
  /** @defaultValue 10000 */
  readonly productsMax?: number;
  /** Bounds the harm of an invalidation that never comes. @defaultValue 1000 */
  readonly ttlMs?: number;
}

/** A cache in the memory of this process. */
export function createProductCache(options: ProductCacheOptions = {}): ProductCache {
  const answers = new LRUCache<string, PeerAnswer>({
    max: options.productsMax ?? 10_000,
    ttl: options.ttlMs ?? 1000,
  });
  const loads = new Map<string, Promise<PeerAnswer>>();

  async function loadAndKeep(
    productId: string,
    load: () => Promise<PeerAnswer>,
  ): Promise<PeerAnswer> {
    const loading = load();
    loads.set(productId, loading);
    const isCurrent = () => loads.get(productId) === loading;
    try {
      const answer = await loading;
      if (isCurrent() && answer.status === 200) answers.set(productId, answer);
      return answer;
    } finally {
      if (isCurrent()) loads.delete(productId);
    }
  }

  return {
    async read(productId, load) {
      return answers.get(productId) ?? loads.get(productId) ?? loadAndKeep(productId, load);
    },
    invalidate(productId) {
      answers.delete(productId);
      loads.delete(productId);
    },
  };
}
