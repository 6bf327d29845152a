-- What a participant has done for callers that may call again, late, or in the wrong order.

set local search_path to :"schema", pg_temp;

create table participant_action (
  -- The key of the forward call.
  forward_key text primary key,
  state text not null check (state in ('done', 'compensated')),
  -- The answers, to be given again.
  answer jsonb,
  compensation_key text,
  compensation_answer jsonb,
  recorded_at timestamptz not null default clock_timestamp()
);
