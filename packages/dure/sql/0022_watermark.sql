-- How far a broker that may lose its memory had got, as the relays saw it: so that a loss is seen by a relay that
-- starts after a crash of both. Written before the progress of what was published: what the cursor has, has a mark.

set local search_path to :"schema", pg_temp;

create table outbox_watermark (
  -- What the publisher calls a place of its broker, and a mark that only grows, compared as text.
  place text primary key,
  mark text collate "C" not null,
  -- Of the outbox, when it was written: marks of an older one are of a memory that was given up.
  incarnation bigint not null,
  marked_at timestamptz not null default clock_timestamp()
);
alter table outbox_watermark set (fillfactor = 50);
