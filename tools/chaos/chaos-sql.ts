/** Ends that share of the shop's sessions, whichever they are. */
export const endSessions = `select pg_terminate_backend(pid) from pg_stat_activity
  where datname like 'shop_%' and pid <> pg_backend_pid() and random() < $1::float8`;

/** What must be gone some time after everything has healed, for each service with messages. Each answers a count. */
export const messagingLimbo: Readonly<Record<string, string>> = {
  "events not published": "select count(*) from dure.outbox_status where state <> 'PUBLISHED'",
  "messages parked": "select count(*) from dure.parked_message",
  "shards and partitions of members whose lease is over": `select count(*) from dure.claim c
    join dure.claim_member m using (scope, member_id) where m.lease_until < clock_timestamp()`,
  "locks held past their lease": `select count(*) from dure.lock_lease
    where holder is not null and expires_at < clock_timestamp()`,
  "semantic locks past their expiry": `select count(*) from dure.semantic_lock
    where state <> 'AVAILABLE' and expires_at < clock_timestamp()`,
  "permits of processes whose lease is over": `select count(*) from dure.semaphore_place p
    join dure.semaphore_member m using (member) where m.lease_until < clock_timestamp()`,
  "sagas that have not ended": "select count(*) from dure.saga_live",
  "flows that wait": "select count(*) from dure.flow_wait",
  "facts of flows that never began": "select count(*) from dure.flow_early",
};

/** The same, of each service's own tables. */
export const serviceLimbo: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  order: {
    "orders under way": "select count(*) from orders where status not in ('COMPLETED', 'CANCELED')",
    "returns under way": "select count(*) from returns where status <> 'COMPLETED'",
  },
  payment: {
    "payments under way":
      "select count(*) from payments where status in ('PROCESSING', 'REFUNDING')",
    "operations under way": "select count(*) from payment_operation where state = 'PENDING'",
  },
  inventory: {
    "pieces reserved": "select count(*) from stock_reservations where status = 'RESERVED'",
  },
  delivery: {
    "deliveries under way": "select count(*) from deliveries where status = 'PENDING'",
  },
  notification: {
    "notifications not sent": "select count(*) from notifications where status <> 'SENT'",
  },
};

/** Of the event log: members that are gone and still hold partitions. */
export const logLimbo: Readonly<Record<string, string>> = {
  "partitions of members whose lease is over":
    messagingLimbo["shards and partitions of members whose lease is over"] ?? "",
};

/** Sessions that hold a transaction open and do nothing with it. */
export const idleTransactions: Readonly<Record<string, string>> = {
  "transactions left open": `select count(*) from pg_stat_activity where datname like 'shop_%'
    and state like 'idle in transaction%' and state_change < clock_timestamp() - interval '10 s'`,
};
