/**
 * The hash by which Kafka's own clients choose a record's partition (murmur2, positive, modulo the number of
 * partitions), so that a key has one partition whoever writes it.
 *
 * Source: Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2`.
 */
export function keyHash(key: Uint8Array): number {
  const { length } = key;
  let hash = 0x9747b28c ^ length;
  const view = new DataView(key.buffer, key.byteOffset, length);
  let at = 0;
  for (; at + 4 <= length; at += 4) {
    let part = Math.imul(view.getInt32(at, true), mixer);
    part ^= part >>> 24;
    hash = Math.imul(hash, mixer) ^ Math.imul(part, mixer);
  }
  const rest = length - at;
  if (rest > 0) {
    for (let index = rest - 1; index >= 0; index -= 1) {
      hash ^= (key[at + index] ?? 0) << (8 * index);
    }
    hash = Math.imul(hash, mixer);
  }
  hash ^= hash >>> 13;
  hash = Math.imul(hash, mixer);
  hash ^= hash >>> 15;
  return hash & 0x7fffffff;
}

const mixer = 0x5bd1e995;
