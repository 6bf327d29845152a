/** One row per channel; an event that comes twice adds nothing. */
export const insertNotifications = `
/* notification:notification.insert */
with message as (
  select $1::text as message_id, $2::text as order_id, $3::text as recipient,
    $4::text as template, $5::text as body
)
insert into notifications (message_id, order_id, recipient, template, body, channel, status)
select message_id, order_id, recipient, template, body, channel, 'PENDING'
from message, unnest($6::text[]) as channel
on conflict (message_id, channel) do nothing`;

/** Takes notifications that are due, for a time; others skip them meanwhile. */
export const claimNotifications = `
/* notification:notification.claim */
update notifications as notification
set claimed_until = clock_timestamp() + $1 * interval '1 millisecond',
  attempt_count = notification.attempt_count + 1, updated_at = clock_timestamp()
from (
  select id from notifications
  where status = 'PENDING' and due_at <= clock_timestamp()
    and (claimed_until is null or claimed_until <= clock_timestamp())
  order by due_at, id limit $2 for update skip locked
) as due
where notification.id = due.id
returning notification.id, notification.recipient, notification.channel, notification.body,
  notification.message_id, notification.attempt_count`;

/** Prolongs the claims of what is under way; what was given back stays given back. */
export const renewClaims = `
/* notification:notification.renew */
update notifications set claimed_until = clock_timestamp() + $1 * interval '1 millisecond'
where id = any($2::bigint[]) and claimed_until is not null`;

/** It was sent, or is given up. */
export const settleNotification = `
/* notification:notification.settle */
update notifications
set status = $1, last_error = coalesce($2, last_error), claimed_until = null,
  updated_at = clock_timestamp()
where id = $3 and status = 'PENDING'`;

/** Gives it back to rest for a while, unless somebody has taken it over meanwhile. */
export const postponeNotification = `
/* notification:notification.postpone */
update notifications
set due_at = clock_timestamp() + $1 * interval '1 millisecond', claimed_until = null,
  last_error = $2, updated_at = clock_timestamp()
where id = $3 and status = 'PENDING' and attempt_count = $4`;

/** Gives back what was interrupted, as if it had not been tried. */
export const returnNotification = `
/* notification:notification.return */
update notifications
set claimed_until = null, attempt_count = attempt_count - 1, updated_at = clock_timestamp()
where id = $1 and status = 'PENDING' and attempt_count = $2`;

/** An order's notifications, oldest first. */
export const listNotifications = `
/* notification:notification.of-order */
select recipient, channel, template, status, message_id, attempt_count, last_error,
  created_at, updated_at
from notifications where order_id = $1 order by id`;

/** How many wait, and how many were given up. */
export const countByStatus = `
/* notification:notification.count */
select status, count(*) as notifications from notifications
where status <> 'SENT' group by status`;
