import { LRUCache } from "lru-cache";

/** How fast each principal may go. */
export interface TokenBucketOptions {
  /** Requests that a principal who was quiet may send at once. */
  readonly burst: number;
  /** Requests a second that it may keep up. */
  readonly perSecond: number;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Principals remembered; the longest quiet is forgotten first. @defaultValue 100000 */
  readonly principalsMax?: number;
}

/** A bucket of tokens per principal. */
export interface TokenBuckets {
  /** Takes a token; or tells after how many milliseconds there will be one. */
  take(principal: string): { readonly isAllowed: true } | Refusal;
}

/** No token is left. */
export interface Refusal {
  readonly isAllowed: false;
  readonly retryAfterMs: number;
}

interface Bucket {
  tokens: number;
  filledAtMs: number;
}

/** Buckets that start full and fill up steadily. Kept in memory: each gateway counts for itself. */
export function createTokenBuckets(options: TokenBucketOptions): TokenBuckets {
  const { burst, perSecond, nowMs } = options;
  const buckets = new LRUCache<string, Bucket>({ max: options.principalsMax ?? 100_000 });
  return {
    take(principal) {
      const atMs = nowMs();
      const bucket = buckets.get(principal) ?? { tokens: burst, filledAtMs: atMs };
      const gained = ((atMs - bucket.filledAtMs) / 1000) * perSecond;
      const tokens = Math.min(burst, bucket.tokens + gained);
      const isAllowed = tokens >= 1;
      buckets.set(principal, { tokens: isAllowed ? tokens - 1 : tokens, filledAtMs: atMs });
      if (isAllowed) return { isAllowed };
      return { isAllowed, retryAfterMs: Math.ceil(((1 - tokens) / perSecond) * 1000) };
    },
  };
}
