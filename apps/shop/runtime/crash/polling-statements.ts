/**
 * Whether a statement belongs to a loop that looks for work, or cares for leases and tables: how often it
 * comes has nothing to do with the checkout. What such a loop then does is a point again. The loops of outbox
 * and inbox have an exploration of their own, in Dure's tests.
 */
export function isPollingStatement(statement: string): boolean {
  return patterns.some((pattern) => pattern.test(statement));
}

const patterns: readonly RegExp[] = [
  /^dure:(?:admin|claim|maintenance|notify)\b/,
  /^dure:outbox\.(?:cursors|due|parked-keys|positions|read)$/,
  /^dure:parked\.due$/,
  /^dure:saga\.(?:beat|claim|left-behind|overdue|read-signals|signals)$/,
  /^payment:(?:claim|next-due|step\.claim)$/,
  /^delivery:delivery\.claim$/,
  /^inventory:expiry\./,
  /^listen /,
  /^shop:ready$/,
];
