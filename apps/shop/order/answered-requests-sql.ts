/** Takes the key for this request; no row comes back when another has it already. */
export const takeKey = `
/* order:request.take-key */
insert into answered_requests (user_id, route, idempotency_key, request_fingerprint)
values ($1, $2, $3, $4) on conflict do nothing returning route`;

/** What the request that has the key was answered. */
export const readAnswer = `
/* order:request.read */
select request_fingerprint, status, body from answered_requests
where user_id = $1 and route = $2 and idempotency_key = $3`;

/** Keeps the answer, in the transaction that took the key. */
export const keepAnswer = `
/* order:request.keep */
update answered_requests set status = $4, body = $5
where user_id = $1 and route = $2 and idempotency_key = $3`;
