-- What sql/0001 to the last make of an empty schema. Written by test/integration/migrate.test.ts; not applied.

create table audit_entry (
  id bigint not null generated always as identity,
  at timestamp with time zone not null default clock_timestamp(),
  actor text not null,
  action text not null,
  subject text not null,
  reason text
);

create table claim (
  scope text not null,
  slot smallint not null,
  member_id uuid,
  epoch bigint not null default 0
);

create table claim_member (
  scope text not null,
  member_id uuid not null,
  lease_until timestamp with time zone not null,
  joined_at timestamp with time zone not null default clock_timestamp()
);

create table flow_early (
  definition text not null,
  saga_id text not null,
  type text not null,
  event json not null,
  heard_at timestamp with time zone not null default clock_timestamp()
);

create table flow_wait (
  saga_id text not null,
  wait text not null,
  service text not null,
  since timestamp with time zone not null,
  deadline_at timestamp with time zone not null,
  overdue_at timestamp with time zone
);

create table idempotency_record (
  id uuid not null,
  fingerprint uuid not null,
  scope text not null,
  key text not null,
  route text not null,
  status smallint not null,
  headers json not null,
  body bytea not null,
  recorded_at timestamp with time zone not null default clock_timestamp(),
  expires_at timestamp with time zone not null
);

create table inbox_attempt (
  consumer text not null,
  message_id text not null,
  started integer not null,
  started_at timestamp with time zone not null default clock_timestamp()
);

create table inbox_message (
  consumer text not null,
  message_id text not null,
  received_at timestamp with time zone not null default clock_timestamp(),
  is_tombstone boolean not null default false
);

create table lock_guard (
  resource text not null,
  token bigint not null,
  holder text not null,
  written_at timestamp with time zone not null
);

create table lock_lease (
  key text not null,
  holder text,
  token bigint not null,
  label text,
  acquired_at timestamp with time zone,
  expires_at timestamp with time zone not null default clock_timestamp(),
  wanted_until timestamp with time zone
);

create table log_message (
  "position" bigint not null,
  appended_at timestamp with time zone not null,
  partition smallint not null,
  topic text not null,
  envelope text not null,
  data text not null
) partition by RANGE (appended_at);

create table log_message_rest (
  "position" bigint not null,
  appended_at timestamp with time zone not null,
  partition smallint not null,
  topic text not null,
  envelope text not null,
  data text not null
);

create table log_offset (
  consumer text not null,
  topic text not null,
  partition smallint not null,
  "position" bigint not null,
  written_at timestamp with time zone not null default clock_timestamp()
);

create table log_producer (
  source text not null,
  shard smallint not null,
  epoch bigint not null
);

create table log_setting (
  singleton boolean not null default true,
  partition_count smallint not null default 8
);

create table migration (
  number integer not null,
  name text not null,
  checksum text not null,
  is_breaking boolean not null,
  applied_at timestamp with time zone not null default clock_timestamp()
);

create table outbox_cursor (
  shard smallint not null,
  epoch bigint not null,
  n bigint not null,
  low bigint not null,
  done int8multirange not null,
  written_at timestamp with time zone not null default clock_timestamp()
);

create table outbox_message (
  "position" bigint not null,
  written_at timestamp with time zone not null,
  stream_hash bigint not null,
  id uuid not null,
  previous_id uuid,
  previous_at timestamp with time zone,
  shard smallint not null,
  version smallint not null,
  link_verified boolean not null,
  source text not null,
  topic text not null,
  key text not null,
  type text not null,
  data text not null,
  context jsonb
) partition by RANGE (written_at);

create table outbox_message_rest (
  "position" bigint not null,
  written_at timestamp with time zone not null,
  stream_hash bigint not null,
  id uuid not null,
  previous_id uuid,
  previous_at timestamp with time zone,
  shard smallint not null,
  version smallint not null,
  link_verified boolean not null,
  source text not null,
  topic text not null,
  key text not null,
  type text not null,
  data text not null,
  context jsonb
);

create table outbox_pause (
  singleton boolean not null default true,
  actor text not null,
  reason text not null,
  paused_at timestamp with time zone not null default clock_timestamp()
);

create table outbox_setting (
  singleton boolean not null default true,
  shard_count smallint not null,
  lock_namespace integer not null,
  position_sequences regclass[] not null,
  incarnation integer not null default 1,
  tableless text not null default 'off'::text
);

create table outbox_watermark (
  place text not null,
  mark text not null,
  incarnation bigint not null,
  marked_at timestamp with time zone not null default clock_timestamp()
);

create table parked_message (
  id bigint not null generated always as identity,
  side text not null,
  consumer text not null,
  topic text not null,
  key text not null,
  message_id text not null,
  type text not null,
  message jsonb not null,
  state text not null,
  blocks_key boolean not null default true,
  attempts integer not null default 0,
  error_code text,
  last_error text,
  first_failed_at timestamp with time zone,
  last_failed_at timestamp with time zone,
  next_attempt_at timestamp with time zone,
  parked_at timestamp with time zone not null default clock_timestamp(),
  shard smallint
);

create table participant_action (
  forward_key text not null,
  state text not null,
  answer jsonb,
  compensation_key text,
  compensation_answer jsonb,
  recorded_at timestamp with time zone not null default clock_timestamp()
);

create table partition_archive (
  name text not null,
  parent text not null,
  detached_at timestamp with time zone not null default clock_timestamp(),
  token bigint not null default 0,
  lease_until timestamp with time zone not null default clock_timestamp(),
  last_error text,
  dropped_at timestamp with time zone,
  row_count bigint,
  checksum text
);

create table saga_instance (
  saga_id text not null,
  definition text not null,
  version smallint not null,
  business_key text,
  input json not null,
  status text not null default 'RUNNING'::text,
  traceparent text,
  process integer,
  batch bigint,
  started_at timestamp with time zone not null default clock_timestamp(),
  ended_at timestamp with time zone
);

create table saga_journal (
  saga_id text not null,
  n integer not null,
  process integer not null,
  batch bigint not null,
  recorded_at timestamp with time zone not null default clock_timestamp(),
  events json not null
);

create table saga_live (
  saga_id text not null,
  definition text not null,
  version smallint not null,
  process integer,
  wake_at timestamp with time zone,
  deadline_at timestamp with time zone
);

create table saga_process (
  process integer not null generated always as identity,
  lease_until timestamp with time zone not null,
  joined_at timestamp with time zone not null default clock_timestamp(),
  fenced_at timestamp with time zone
);

create table saga_signal (
  signal_id bigint not null generated always as identity,
  saga_id text not null,
  dedup_key text not null,
  body json not null,
  sent_at timestamp with time zone not null default clock_timestamp()
);

create table semantic_lock (
  resource text not null,
  state text not null,
  owner text,
  token bigint not null,
  acquired_at timestamp with time zone,
  expires_at timestamp with time zone
);

create table semaphore (
  name text not null,
  permits integer not null,
  line_max integer not null,
  declared_permits integer not null,
  declared_line_max integer not null,
  is_set boolean not null default false
);

create table semaphore_member (
  member bigint not null generated always as identity,
  process text not null,
  lease_until timestamp with time zone not null,
  fenced_at timestamp with time zone
);

create table semaphore_place (
  place bigint not null generated always as identity,
  semaphore text not null,
  member bigint not null,
  key text not null,
  asked_at timestamp with time zone not null default clock_timestamp(),
  granted_at timestamp with time zone
);

alter table audit_entry add constraint audit_entry_pkey PRIMARY KEY (id);

alter table claim add constraint claim_pkey PRIMARY KEY (scope, slot);

alter table claim_member add constraint claim_member_pkey PRIMARY KEY (scope, member_id);

alter table flow_early add constraint flow_early_pkey PRIMARY KEY (definition, saga_id, type);

alter table flow_wait add constraint flow_wait_pkey PRIMARY KEY (saga_id, wait);

alter table idempotency_record add constraint idempotency_record_pkey PRIMARY KEY (id);

alter table inbox_attempt add constraint inbox_attempt_pkey PRIMARY KEY (consumer, message_id);

alter table inbox_message add constraint inbox_message_pkey PRIMARY KEY (consumer, message_id);

alter table lock_guard add constraint lock_guard_pkey PRIMARY KEY (resource);

alter table lock_guard add constraint lock_guard_resource_check CHECK (((length(resource) >= 1) AND (length(resource) <= 600)));

alter table lock_lease add constraint lock_lease_check CHECK (((holder IS NULL) OR (acquired_at IS NOT NULL)));

alter table lock_lease add constraint lock_lease_key_check CHECK (((length(key) >= 1) AND (length(key) <= 500)));

alter table lock_lease add constraint lock_lease_pkey PRIMARY KEY (key);

alter table log_offset add constraint log_offset_pkey PRIMARY KEY (consumer, topic, partition, "position");

alter table log_producer add constraint log_producer_pkey PRIMARY KEY (source, shard);

alter table log_setting add constraint log_setting_partition_count_check CHECK (((partition_count >= 1) AND (partition_count <= 256)));

alter table log_setting add constraint log_setting_pkey PRIMARY KEY (singleton);

alter table log_setting add constraint log_setting_singleton_check CHECK (singleton);

alter table migration add constraint migration_pkey PRIMARY KEY (number);

alter table outbox_cursor add constraint outbox_cursor_pkey PRIMARY KEY (shard, epoch, n);

alter table outbox_pause add constraint outbox_pause_pkey PRIMARY KEY (singleton);

alter table outbox_pause add constraint outbox_pause_singleton_check CHECK (singleton);

alter table outbox_setting add constraint outbox_setting_incarnation_check CHECK ((incarnation >= 1));

alter table outbox_setting add constraint outbox_setting_pkey PRIMARY KEY (singleton);

alter table outbox_setting add constraint outbox_setting_shard_count_check CHECK (((shard_count >= 1) AND (shard_count <= 64)));

alter table outbox_setting add constraint outbox_setting_singleton_check CHECK (singleton);

alter table outbox_setting add constraint outbox_setting_tableless_check CHECK ((tableless = ANY (ARRAY['off'::text, 'on'::text, 'lost'::text])));

alter table outbox_watermark add constraint outbox_watermark_pkey PRIMARY KEY (place);

alter table parked_message add constraint parked_message_pkey PRIMARY KEY (id);

alter table parked_message add constraint parked_message_side_check CHECK ((side = ANY (ARRAY['relay'::text, 'consumer'::text])));

alter table parked_message add constraint parked_message_side_consumer_message_id_key UNIQUE (side, consumer, message_id);

alter table parked_message add constraint parked_message_state_check CHECK ((state = ANY (ARRAY['retrying'::text, 'dead'::text, 'held'::text])));

alter table participant_action add constraint participant_action_pkey PRIMARY KEY (forward_key);

alter table participant_action add constraint participant_action_state_check CHECK ((state = ANY (ARRAY['done'::text, 'compensated'::text, 'refused'::text])));

alter table partition_archive add constraint partition_archive_pkey PRIMARY KEY (name);

alter table saga_instance add constraint saga_instance_pkey PRIMARY KEY (saga_id);

alter table saga_instance add constraint saga_instance_status_check CHECK ((status = ANY (ARRAY['RUNNING'::text, 'COMPENSATING'::text, 'COMPLETED'::text, 'COMPENSATED'::text, 'FAILED'::text, 'COMPENSATION_FAILED'::text])));

alter table saga_journal add constraint saga_journal_pkey PRIMARY KEY (saga_id, n);

alter table saga_live add constraint saga_live_pkey PRIMARY KEY (saga_id);

alter table saga_process add constraint saga_process_pkey PRIMARY KEY (process);

alter table saga_signal add constraint saga_signal_pkey PRIMARY KEY (signal_id);

alter table saga_signal add constraint saga_signal_saga_id_dedup_key_key UNIQUE (saga_id, dedup_key);

alter table semantic_lock add constraint semantic_lock_check CHECK (((state = 'AVAILABLE'::text) = (owner IS NULL)));

alter table semantic_lock add constraint semantic_lock_check1 CHECK (((state = 'AVAILABLE'::text) = (acquired_at IS NULL)));

alter table semantic_lock add constraint semantic_lock_check2 CHECK (((state <> 'AVAILABLE'::text) OR (expires_at IS NULL)));

alter table semantic_lock add constraint semantic_lock_check3 CHECK (((state <> 'RESERVING'::text) OR (expires_at IS NOT NULL)));

alter table semantic_lock add constraint semantic_lock_pkey PRIMARY KEY (resource);

alter table semantic_lock add constraint semantic_lock_state_check CHECK ((state = ANY (ARRAY['AVAILABLE'::text, 'RESERVING'::text, 'RESERVED'::text])));

alter table semantic_lock add constraint semantic_lock_token_check CHECK ((token >= 0));

alter table semaphore add constraint semaphore_line_max_check CHECK (((line_max >= 0) AND (line_max <= 100000)));

alter table semaphore add constraint semaphore_permits_check CHECK (((permits >= 0) AND (permits <= 10000)));

alter table semaphore add constraint semaphore_pkey PRIMARY KEY (name);

alter table semaphore_member add constraint semaphore_member_pkey PRIMARY KEY (member);

alter table semaphore_place add constraint semaphore_place_member_key_key UNIQUE (member, key);

alter table semaphore_place add constraint semaphore_place_pkey PRIMARY KEY (place);

CREATE UNIQUE INDEX audit_entry_pkey ON dure.audit_entry USING btree (id);

CREATE UNIQUE INDEX claim_member_pkey ON dure.claim_member USING btree (scope, member_id);

CREATE UNIQUE INDEX claim_pkey ON dure.claim USING btree (scope, slot);

CREATE INDEX flow_early_heard ON dure.flow_early USING btree (heard_at);
comment on index flow_early_heard is 'flow_forget_early: what has waited for so long that its start will not come';

CREATE UNIQUE INDEX flow_early_pkey ON dure.flow_early USING btree (definition, saga_id, type);

CREATE INDEX flow_wait_due ON dure.flow_wait USING btree (deadline_at) WHERE (overdue_at IS NULL);
comment on index flow_wait_due is 'flow_overdue: the waits that take too long, the oldest first';

CREATE UNIQUE INDEX flow_wait_pkey ON dure.flow_wait USING btree (saga_id, wait);

CREATE INDEX idempotency_record_expires ON dure.idempotency_record USING btree (expires_at);
comment on index idempotency_record_expires is 'maintenance.prune-keys: the records whose time is over, the oldest first';

CREATE UNIQUE INDEX idempotency_record_pkey ON dure.idempotency_record USING btree (id);

CREATE UNIQUE INDEX inbox_attempt_pkey ON dure.inbox_attempt USING btree (consumer, message_id);

CREATE UNIQUE INDEX inbox_message_pkey ON dure.inbox_message USING btree (consumer, message_id);

CREATE INDEX inbox_message_received ON dure.inbox_message USING btree (received_at);
comment on index inbox_message_received is 'dure:maintenance.prune-inbox: the records that are old enough to go';

CREATE UNIQUE INDEX lock_guard_pkey ON dure.lock_guard USING btree (resource);

CREATE UNIQUE INDEX lock_lease_pkey ON dure.lock_lease USING btree (key);

CREATE INDEX log_message_position ON ONLY dure.log_message USING btree (topic, partition, "position");
comment on index log_message_position is 'dure:log.read: messages of a topic and partition from a position on';

CREATE INDEX log_message_rest_topic_partition_position_idx ON dure.log_message_rest USING btree (topic, partition, "position");

CREATE UNIQUE INDEX log_offset_pkey ON dure.log_offset USING btree (consumer, topic, partition, "position");

CREATE UNIQUE INDEX log_producer_pkey ON dure.log_producer USING btree (source, shard);

CREATE UNIQUE INDEX log_setting_pkey ON dure.log_setting USING btree (singleton);

CREATE UNIQUE INDEX migration_pkey ON dure.migration USING btree (number);

CREATE UNIQUE INDEX outbox_cursor_pkey ON dure.outbox_cursor USING btree (shard, epoch, n);

CREATE INDEX outbox_message_position ON ONLY dure.outbox_message USING btree (shard, "position");
comment on index outbox_message_position is 'dure:outbox.read: events of a shard from a position on';

CREATE INDEX outbox_message_rest_shard_position_idx ON dure.outbox_message_rest USING btree (shard, "position");

CREATE INDEX outbox_message_rest_stream_hash_position_idx ON dure.outbox_message_rest USING btree (stream_hash, "position" DESC);

CREATE INDEX outbox_message_stream ON ONLY dure.outbox_message USING btree (stream_hash, "position" DESC);
comment on index outbox_message_stream is 'outbox_append: the previous event of a stream';

CREATE UNIQUE INDEX outbox_pause_pkey ON dure.outbox_pause USING btree (singleton);

CREATE UNIQUE INDEX outbox_setting_pkey ON dure.outbox_setting USING btree (singleton);

CREATE UNIQUE INDEX outbox_watermark_pkey ON dure.outbox_watermark USING btree (place);

CREATE INDEX parked_message_dead ON dure.parked_message USING btree (id) WHERE (state = 'dead'::text);
comment on index parked_message_dead is 'dure:admin.dead-letters, redrive, discard, status: the oldest dead letters';

CREATE INDEX parked_message_due ON dure.parked_message USING btree (side, consumer, next_attempt_at) WHERE (state = 'retrying'::text);
comment on index parked_message_due is 'dure:parked.due: what is to be tried again now';

CREATE INDEX parked_message_first ON dure.parked_message USING btree (side, consumer) INCLUDE (topic, key) WHERE (blocks_key AND (state <> 'held'::text));
comment on index parked_message_first is 'dure:outbox.parked-keys, dure:admin.status: the keys that are parked, each by its first message';

CREATE INDEX parked_message_key ON dure.parked_message USING btree (side, consumer, topic, key, id) WHERE blocks_key;
comment on index parked_message_key is 'park_rows, parked_promote, inbox_receive, dure:outbox.parked-among: what blocks a key, in order';

CREATE UNIQUE INDEX parked_message_pkey ON dure.parked_message USING btree (id);

CREATE INDEX parked_message_relay_due ON dure.parked_message USING btree (consumer, topic, shard, next_attempt_at) WHERE ((side = 'relay'::text) AND (state = 'retrying'::text));
comment on index parked_message_relay_due is 'dure:outbox.due: what the relay is to send again now, per topic and shard';

CREATE UNIQUE INDEX parked_message_side_consumer_message_id_key ON dure.parked_message USING btree (side, consumer, message_id);

CREATE UNIQUE INDEX participant_action_pkey ON dure.participant_action USING btree (forward_key);

CREATE UNIQUE INDEX partition_archive_pkey ON dure.partition_archive USING btree (name);

CREATE INDEX saga_instance_business_key ON dure.saga_instance USING btree (business_key) WHERE (business_key IS NOT NULL);
comment on index saga_instance_business_key is 'dure:saga.list: the sagas of an order';

CREATE INDEX saga_instance_ended ON dure.saga_instance USING brin (started_at) WITH (autosummarize='on');
comment on index saga_instance_ended is 'saga_retire: what ended long ago; the table is in order of starts';

CREATE UNIQUE INDEX saga_instance_pkey ON dure.saga_instance USING btree (saga_id);

CREATE UNIQUE INDEX saga_journal_pkey ON dure.saga_journal USING btree (saga_id, n);

CREATE INDEX saga_live_due ON dure.saga_live USING btree (definition, version, wake_at) WHERE ((process IS NULL) AND (wake_at IS NOT NULL));
comment on index saga_live_due is 'saga_claim: what is due, per definition';

CREATE INDEX saga_live_parked ON dure.saga_live USING btree (saga_id) WHERE ((process IS NULL) AND (wake_at IS NULL));
comment on index saga_live_parked is 'saga_parked: what waits for a person';

CREATE UNIQUE INDEX saga_live_pkey ON dure.saga_live USING btree (saga_id);

CREATE UNIQUE INDEX saga_process_pkey ON dure.saga_process USING btree (process);

CREATE UNIQUE INDEX saga_signal_pkey ON dure.saga_signal USING btree (signal_id);

CREATE INDEX saga_signal_resolve ON dure.saga_signal USING btree (signal_id) WHERE (dedup_key = ANY (ARRAY['command/resolve/COMPLETED'::text, 'command/resolve/COMPENSATED'::text]));
comment on index saga_signal_resolve is 'flow_resolve: the flows that an operator ends; a parked saga''s resolve has its entry in the key';

CREATE UNIQUE INDEX saga_signal_saga_id_dedup_key_key ON dure.saga_signal USING btree (saga_id, dedup_key);
comment on index saga_signal_saga_id_dedup_key_key is 'saga_signal_send, dure:saga.read-signals: the signals of one saga';

CREATE INDEX semantic_lock_expiry ON dure.semantic_lock USING btree (expires_at) WHERE (expires_at IS NOT NULL);
comment on index semantic_lock_expiry is 'dure:isolation.sweep: the locks whose time is over, the oldest first';

CREATE UNIQUE INDEX semantic_lock_pkey ON dure.semantic_lock USING btree (resource);

CREATE UNIQUE INDEX semaphore_member_pkey ON dure.semaphore_member USING btree (member);

CREATE UNIQUE INDEX semaphore_pkey ON dure.semaphore USING btree (name);

CREATE INDEX semaphore_place_line ON dure.semaphore_place USING btree (semaphore, place);
comment on index semaphore_place_line is 'semaphore_advance, semaphore_acquire: the places of a semaphore in their order';

CREATE UNIQUE INDEX semaphore_place_member_key_key ON dure.semaphore_place USING btree (member, key);

CREATE UNIQUE INDEX semaphore_place_pkey ON dure.semaphore_place USING btree (place);

create sequence audit_entry_id_seq cache 1;

create sequence lock_token cache 1;

create sequence log_position cache 1;

create sequence outbox_position_0 cache 1;

create sequence outbox_position_1 cache 1;

create sequence outbox_position_2 cache 1;

create sequence outbox_position_3 cache 1;

create sequence outbox_position_4 cache 1;

create sequence outbox_position_5 cache 1;

create sequence outbox_position_6 cache 1;

create sequence outbox_position_7 cache 1;

create sequence parked_message_id_seq cache 1;

create sequence saga_process_process_seq cache 1;

create sequence saga_signal_signal_id_seq cache 1;

create sequence semaphore_member_member_seq cache 1;

create sequence semaphore_place_place_seq cache 1;

create view outbox_status as
 SELECT m.id,
    m.topic,
    m.key,
    m.type,
    m.version,
    m.written_at,
    m.shard,
    m."position",
        CASE
            WHEN (p.state = 'dead'::text) THEN 'DEAD'::text
            WHEN (p.id IS NOT NULL) THEN 'PARKED'::text
            WHEN ((m."position" <= COALESCE(c.low, (0)::bigint)) OR (c.done @> m."position")) THEN 'PUBLISHED'::text
            WHEN ((w.member_id IS NOT NULL) AND (NOT (EXISTS ( SELECT
               FROM dure.outbox_pause)))) THEN 'IN_FLIGHT'::text
            ELSE 'PENDING'::text
        END AS state,
    COALESCE(p.attempts, 0) AS attempts,
    p.last_error,
        CASE
            WHEN (p.id IS NULL) THEN ( SELECT min(r.written_at) AS min
               FROM dure.outbox_cursor r
              WHERE ((r.shard = m.shard) AND ((m."position" <= r.low) OR (r.done @> m."position"))))
            ELSE NULL::timestamp with time zone
        END AS published_at
   FROM ((((dure.outbox_message m
     LEFT JOIN ( SELECT DISTINCT ON (outbox_cursor.shard) outbox_cursor.shard,
            outbox_cursor.low,
            outbox_cursor.done
           FROM dure.outbox_cursor
          ORDER BY outbox_cursor.shard, outbox_cursor.epoch DESC, outbox_cursor.n DESC) c ON ((c.shard = m.shard)))
     LEFT JOIN dure.parked_message p ON (((p.side = 'relay'::text) AND (p.consumer = m.source) AND (p.message_id = (m.id)::text))))
     LEFT JOIN dure.claim k ON (((k.scope = 'outbox'::text) AND (k.slot = m.shard))))
     LEFT JOIN dure.claim_member w ON (((w.scope = k.scope) AND (w.member_id = k.member_id) AND (w.lease_until > clock_timestamp()))));

create view outbox_wal as
 SELECT slot_name,
    active_pid,
    wal_status,
    safe_wal_size,
    confirmed_flush_lsn,
    (pg_wal_lsn_diff(
        CASE
            WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
            ELSE pg_current_wal_lsn()
        END, confirmed_flush_lsn))::bigint AS lag_bytes,
    ( SELECT outbox_setting.tableless
           FROM dure.outbox_setting) AS tableless
   FROM pg_replication_slots s
  WHERE (slot_name = dure.outbox_wal_slot());

create view saga_event as
 SELECT j.saga_id,
    j.n,
    e.at,
    j.recorded_at,
    j.process,
    (e.event ->> 'type'::text) AS type,
    (e.event ->> 'step'::text) AS step,
    e.event
   FROM (dure.saga_journal j
     CROSS JOIN LATERAL json_array_elements(j.events) WITH ORDINALITY e(event, at));

create view saga_parked as
 SELECT i.saga_id,
    i.definition,
    i.version,
    i.business_key,
    i.status,
    i.traceparent,
    i.started_at
   FROM (dure.saga_live l
     JOIN dure.saga_instance i ON ((i.saga_id = l.saga_id)))
  WHERE ((l.process IS NULL) AND (l.wake_at IS NULL) AND (i.status = ANY (ARRAY['FAILED'::text, 'COMPENSATION_FAILED'::text])));

CREATE OR REPLACE FUNCTION dure.claim_heartbeat(p_scope text, p_member uuid, p_lease_ms integer, p_slots smallint, p_join boolean)
 RETURNS TABLE(slot smallint, epoch bigint, surplus boolean, members integer)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_members integer;
  v_rank integer;
  v_share integer;
begin
  -- Exclusive: a write that checked its epoch under the shared lock has committed before this goes on.
  perform pg_advisory_xact_lock(claim_lock_key(p_scope));
  if p_join then
    insert into claim_member (scope, member_id, lease_until)
    values (p_scope, p_member, clock_timestamp() + p_lease_ms * interval '1 ms')
    -- A member that does not know whether it had joined says so again.
    on conflict (scope, member_id) do update set lease_until = excluded.lease_until;
    insert into claim (scope, slot)
    select p_scope, s from generate_series(0, p_slots - 1) s on conflict do nothing;
  else
    update claim_member m set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
    where m.scope = p_scope and m.member_id = p_member and m.lease_until > clock_timestamp();
    if not found then
      return;
    end if;
  end if;
  delete from claim_member m where m.scope = p_scope and m.lease_until <= clock_timestamp();
  update claim c set member_id = null
  where c.scope = p_scope and c.member_id is not null
    and not exists (
      select 1 from claim_member m where m.scope = p_scope and m.member_id = c.member_id
    );
  select count(*), count(*) filter (where m.member_id < p_member) into v_members, v_rank
  from claim_member m where m.scope = p_scope;
  v_share := p_slots / v_members + case when v_rank < p_slots % v_members then 1 else 0 end;
  update claim c set member_id = p_member, epoch = c.epoch + 1
  where c.scope = p_scope and c.slot in (
    select f.slot from claim f
    where f.scope = p_scope and f.member_id is null and f.slot < p_slots
    order by f.slot
    limit greatest(0, v_share - (
      select count(*) from claim h where h.scope = p_scope and h.member_id = p_member
    ))
  );
  return query
    select c.slot, c.epoch, row_number() over (order by c.slot) > v_share, v_members
    from claim c where c.scope = p_scope and c.member_id = p_member
    order by c.slot;
  if not found then
    -- A member without a slot is alive all the same: slot -1 says so.
    return query select (-1)::smallint, 0::bigint, false, v_members;
  end if;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.claim_lock_key(p_scope text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select hashtextextended('dure.claim:' || p_scope, 0)
$function$
;

CREATE OR REPLACE FUNCTION dure.claim_release(p_scope text, p_member uuid, p_slots smallint[], p_leave boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  perform pg_advisory_xact_lock(claim_lock_key(p_scope));
  update claim c set member_id = null
  where c.scope = p_scope and c.member_id = p_member and (p_leave or c.slot = any (p_slots));
  if p_leave then
    delete from claim_member m where m.scope = p_scope and m.member_id = p_member;
  end if;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.flow_forget_early(p_older_ms bigint, p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_before constant timestamptz := clock_timestamp() - p_older_ms * interval '1 ms';
  v_count integer;
begin
  with old as (
    select definition, saga_id, type from flow_early
    where heard_at < v_before
    limit p_limit for update skip locked
  )
  delete from flow_early f using old o
  where f.definition = o.definition and f.saga_id = o.saga_id and f.type = o.type;
  get diagnostics v_count = row_count;
  return v_count;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.flow_move(p_entries text, p_now timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  v_starts text[];
  v_ended text[];
  v_moved text[];
begin
  select array_agg(id) filter (where is_start), array_agg(id) filter (where is_end), array_agg(id)
  into v_starts, v_ended, v_moved
  from json_to_recordset(p_entries::json) as e (id text, is_start boolean, is_end boolean);
  delete from flow_early f
  using json_to_recordset(p_entries::json) as e (id text, definition text, is_start boolean)
  where e.is_start and f.definition = e.definition and f.saga_id = e.id;
  update saga_instance i set status = e.status, ended_at = case when e.is_end then p_now end
  from json_to_recordset(p_entries::json) as e (id text, status text, is_end boolean)
  where i.saga_id = e.id and i.status <> e.status and i.ended_at is null;
  delete from flow_wait w
  where w.saga_id = any (v_moved) and (w.saga_id, w.wait) not in (
    select e.id, x.wait
    from json_to_recordset(p_entries::json) as e (id text, waits json)
    cross join json_to_recordset(e.waits) as x (wait text)
  );
  insert into flow_wait (saga_id, wait, service, since, deadline_at)
  select e.id, x.wait, x.service, p_now, p_now + x.ms * interval '1 ms'
  from json_to_recordset(p_entries::json) as e (id text, waits json)
  cross join json_to_recordset(e.waits) as x (wait text, service text, ms bigint)
  on conflict do nothing;
  delete from saga_live where saga_id = any (v_ended);
  delete from saga_signal where saga_id = any (v_ended);
  insert into saga_live (saga_id, definition, version, process)
  select id, definition, version, flow_process()
  from json_to_recordset(p_entries::json) as e (
    id text, definition text, version smallint, is_start boolean, is_end boolean
  ) where is_start and not is_end;
  update saga_live l set deadline_at = (select min(w.deadline_at) from flow_wait w where w.saga_id = l.saga_id)
  where l.saga_id = any (v_moved);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.flow_open(p_definitions text[], p_ids text[])
 RETURNS TABLE(definition text, saga_id text, known_as text, version smallint, status text, journal json, early json)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
begin
  perform pg_advisory_xact_lock(k.key) from (
    select distinct hashtextextended('dure.flow:' || g.definition || chr(31) || g.id, 0) as key
    from unnest(p_definitions, p_ids) as g (definition, id) order by key
  ) k;
  -- Statements of their own: each sees what was committed while the one before it waited.
  perform from saga_instance i where i.saga_id = any (p_ids) order by i.saga_id for update;
  return query
    select g.definition, g.id, i.definition, i.version, i.status,
      case when i.definition = g.definition then (
        select json_agg(j.events order by j.n) from saga_journal j where j.saga_id = g.id
      ) end,
      (
        select json_agg(e.event order by e.heard_at, e.type) from flow_early e
        where i.saga_id is null and e.definition = g.definition and e.saga_id = g.id
      )
    from unnest(p_definitions, p_ids) as g (definition, id)
    left join saga_instance i on i.saga_id = g.id;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.flow_overdue(p_limit integer)
 RETURNS TABLE(saga_id text, definition text, version smallint, business_key text, status text, services text[], since timestamp with time zone)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
declare
  -- Read once: as a condition of an index it must not change from row to row.
  v_now constant timestamptz := clock_timestamp();
  v_ids text[];
  v_waits text[];
begin
  with due as materialized (
    select w.saga_id, w.wait from flow_wait w
    join saga_instance i on i.saga_id = w.saga_id
    where w.overdue_at is null and w.deadline_at <= v_now
    order by w.deadline_at limit p_limit
    for update of w, i skip locked
  ), noted as (
    update flow_wait w set overdue_at = v_now
    from due d where w.saga_id = d.saga_id and w.wait = d.wait
    returning w.saga_id, w.wait
  )
  select array_agg(o.saga_id), array_agg(o.wait) into v_ids, v_waits from noted o;
  -- Statements of their own: the number of the entry is read under the lock of the flow's row.
  insert into saga_journal (saga_id, n, process, batch, events)
  select o.saga_id, (select max(j.n) + 1 from saga_journal j where j.saga_id = o.saga_id), flow_process(), 0, o.events
  from (
    select w.saga_id, json_agg(json_build_object(
      'type', 'overdue', 'step', w.wait, 'service', w.service, 'since', w.since
    ) order by w.since, w.wait) as events
    from unnest(v_ids, v_waits) as g (saga_id, wait)
    join flow_wait w on w.saga_id = g.saga_id and w.wait = g.wait
    group by w.saga_id
  ) o;
  return query
    select i.saga_id, i.definition, i.version, i.business_key, i.status,
      array_agg(distinct w.service), min(w.since)
    from unnest(v_ids, v_waits) as g (saga_id, wait)
    join flow_wait w on w.saga_id = g.saga_id and w.wait = g.wait
    join saga_instance i on i.saga_id = w.saga_id
    group by i.saga_id, i.definition, i.version, i.business_key, i.status
    order by min(w.since), i.saga_id;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.flow_process()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$ select 0 $function$
;

CREATE OR REPLACE FUNCTION dure.flow_record(p_entries text, p_early text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  insert into flow_early (definition, saga_id, type, event, heard_at)
  select definition, id, type, event, v_now
  from json_to_recordset(p_early::json) as e (definition text, id text, type text, event json)
  on conflict do nothing;
  -- No "on conflict": a saga that took the id meanwhile makes this fail, and it is looked again.
  insert into saga_instance (saga_id, definition, version, business_key, input, status, traceparent, ended_at)
  select id, definition, version, key, input, status, trace, case when is_end then v_now end
  from json_to_recordset(p_entries::json) as e (
    id text, definition text, version smallint, key text, input json, trace text, status text,
    is_start boolean, is_end boolean
  ) where is_start;
  insert into saga_journal (saga_id, n, process, batch, events)
  select id, coalesce((select max(n) from saga_journal where saga_id = id), 0) + 1, flow_process(), 0, events
  from json_to_recordset(p_entries::json) as e (id text, events json);
  perform flow_move(p_entries, v_now);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.flow_resolve(p_limit integer)
 RETURNS TABLE(saga_id text, definition text, version smallint, status text, actor text, why text)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_held text[];
  v_ids text[];
  v_statuses text[];
  v_actors text[];
  v_whys text[];
begin
  -- The flow's row first, as whoever hears an event of it does.
  select array_agg(h.saga_id) into v_held from (
    select i.saga_id from saga_signal s
    join saga_instance i on i.saga_id = s.saga_id
    where s.dedup_key in ('command/resolve/COMPLETED', 'command/resolve/COMPENSATED')
    order by s.signal_id limit p_limit
    for update of i skip locked
  ) h;
  -- A statement of its own, under the lock: one that has ended meanwhile has taken its signals with it.
  select array_agg(s.saga_id), array_agg(s.body ->> 'as'), array_agg(s.body ->> 'actor'), array_agg(s.body ->> 'why')
  into v_ids, v_statuses, v_actors, v_whys
  from saga_signal s join saga_live l on l.saga_id = s.saga_id
  where s.saga_id = any (v_held) and l.process = flow_process()
    and s.dedup_key in ('command/resolve/COMPLETED', 'command/resolve/COMPENSATED');
  if v_ids is null then
    return;
  end if;
  insert into saga_journal (saga_id, n, process, batch, events)
  select g.id, (select max(j.n) + 1 from saga_journal j where j.saga_id = g.id), flow_process(), 0,
    json_build_array(
      json_build_object('type', 'commanded', 'command', 'resolve', 'actor', g.actor, 'why', g.why, 'as', g.status),
      case g.status when 'COMPLETED' then json_build_object('type', 'completed')
      else json_build_object('type', 'compensated', 'reason', json_build_object(
        'code', 'RESOLVED', 'error', 'an operator has marked it as resolved'
      )) end
    )
  from unnest(v_ids, v_statuses, v_actors, v_whys) as g (id, status, actor, why);
  update saga_instance i set status = g.status, ended_at = v_now
  from unnest(v_ids, v_statuses) as g (id, status) where i.saga_id = g.id;
  delete from flow_wait w where w.saga_id = any (v_ids);
  delete from saga_live l where l.saga_id = any (v_ids);
  -- After the live rows: whoever left one meanwhile has committed.
  delete from saga_signal s where s.saga_id = any (v_ids);
  return query
    select i.saga_id, i.definition, i.version, i.status, g.actor, g.why
    from unnest(v_ids, v_actors, v_whys) as g (id, actor, why)
    join saga_instance i on i.saga_id = g.id order by i.saga_id;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.idempotency_bound(p_ms integer, p_is_whole boolean DEFAULT ((current_setting('server_version_num'::text))::integer >= 170000))
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  v_name text;
  v_limit interval;
begin
  foreach v_name in array case
    when p_is_whole then array['transaction_timeout']
    else array['statement_timeout', 'idle_in_transaction_session_timeout']
  end loop
    v_limit := current_setting(v_name)::interval;
    continue when v_limit > interval '0' and v_limit <= p_ms * interval '1 ms';
    -- A clock that runs is not wound up again by a new limit: only 0 stops it.
    perform set_config(v_name, '0', true);
    perform set_config(v_name, p_ms::text, true);
  end loop;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.idempotency_claim(p_id uuid, p_fingerprint uuid, p_lock bigint, p_request_lock bigint, p_lease_ms integer)
 RETURNS json
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_record record;
  v_has_request_lock boolean := false;
  v_has_lock boolean := false;
begin
  if current_setting('transaction_timeout', true) = '0' then
    -- As it nearly always is, in a hurry.
    perform set_config('transaction_timeout', p_lease_ms::text, true);
  else
    perform idempotency_bound(p_lease_ms);
  end if;
  for v_round in 1 .. 6 loop
    if not v_has_request_lock then
      v_has_request_lock := pg_try_advisory_xact_lock(p_request_lock);
    end if;
    if v_has_request_lock then
      v_has_lock := pg_try_advisory_xact_lock(p_lock);
    end if;
    -- A statement of its own: it sees what was committed before the locks were asked for.
    select r.fingerprint, r.status, r.headers, r.body, r.expires_at <= clock_timestamp() as is_expired
    into v_record from idempotency_record r where r.id = p_id;
    if found and not v_record.is_expired then
      if v_record.fingerprint <> p_fingerprint then
        return '["mismatch"]';
      end if;
      return json_build_array('replayed', v_record.status, v_record.headers, encode(v_record.body, 'base64'));
    elsif v_has_lock then
      -- Its time is over, and maintenance has not come by yet.
      if found then
        delete from idempotency_record r where r.id = p_id;
      end if;
      return '["claimed"]';
    elsif not v_has_request_lock then
      return '["in_flight"]';
    end if;
    -- The locks of one transaction are let go one after the other: one that has just rolled back, with this very
    -- request, may still hold the second. Only who keeps it for longer is running another request.
    perform pg_sleep(0.002);
  end loop;
  return '["mismatch"]';
end
$function$
;

CREATE OR REPLACE FUNCTION dure.idempotency_keep(p_id uuid, p_fingerprint uuid, p_scope text, p_key text, p_route text, p_status smallint, p_headers text, p_body text, p_keep_ms bigint, p_lease_ms integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  if v_now > transaction_timestamp() + p_lease_ms * interval '1 ms' then
    raise exception 'a keyed request took longer than its lease of % ms; nothing of it was committed', p_lease_ms
      using errcode = 'DU005';
  end if;
  insert into idempotency_record (
    id, fingerprint, scope, key, route, status, headers, body, recorded_at, expires_at
  ) values (
    p_id, p_fingerprint, p_scope, p_key, p_route, p_status, p_headers::json, decode(p_body, 'base64'),
    v_now, v_now + p_keep_ms * interval '1 ms'
  );
end
$function$
;

CREATE OR REPLACE FUNCTION dure.inbox_receive(p_consumer text, p_ids text[], p_topics text[], p_keys text[], p_previous text[])
 RETURNS TABLE(fresh text[], parked text[], known text[])
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  -- Sorted: two consumers of overlapping batches wait for each other in one order.
  with inserted as (
    insert into inbox_message (consumer, message_id)
    select p_consumer, i from unnest(p_ids) i order by i
    on conflict do nothing
    returning message_id
  )
  select coalesce(array_agg(message_id), '{}') into fresh from inserted;
  select coalesce(array_agg(distinct m.topic || chr(31) || m.key), '{}') into parked
  from unnest(p_topics, p_keys) as k (topic, key)
  join parked_message m
    on m.side = 'consumer' and m.consumer = p_consumer and m.topic = k.topic and m.key = k.key
    and m.blocks_key;
  select coalesce(array_agg(i.message_id), '{}') into known
  from inbox_message i
  where i.consumer = p_consumer and i.message_id = any (p_previous);
  return next;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.inbox_receive(p_consumer text, p_ids text[], p_topics text[], p_keys text[], p_previous text[], p_tombstones boolean[])
 RETURNS TABLE(seen text[], parked text[], unknown text[], tombstoned text[])
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
begin
  -- Sorted: two consumers of overlapping batches wait for each other in one order.
  with recorded as (
    insert into inbox_message as i (consumer, message_id, is_tombstone)
    select p_consumer, m.id, bool_and(m.is_tombstone)
    from unnest(p_ids, p_tombstones) as m (id, is_tombstone)
    group by m.id order by m.id
    on conflict (consumer, message_id) do update set is_tombstone = false, received_at = clock_timestamp()
      where i.is_tombstone and not excluded.is_tombstone
    returning i.message_id, i.is_tombstone
  )
  select
    coalesce((select array_agg(i) from unnest(p_ids) i where i not in (select r.message_id from recorded r)), '{}'),
    coalesce((select array_agg(r.message_id) from recorded r where r.is_tombstone), '{}')
  into seen, tombstoned;
  select coalesce(array_agg(k.topic || chr(31) || k.key), '{}') into parked
  from (select distinct topic, key from unnest(p_topics, p_keys) as d (topic, key)) k
  -- One look into the index for each key, however many messages wait behind it.
  cross join lateral (
    select from parked_message m
    where m.side = 'consumer' and m.consumer = p_consumer and m.topic = k.topic and m.key = k.key and m.blocks_key
    limit 1
  ) blocking;
  select coalesce(array_agg(p), '{}') into unknown from unnest(p_previous) p
  where p not in (
    select i.message_id from inbox_message i where i.consumer = p_consumer and i.message_id = any (p_previous)
  );
  return next;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.lock_acquire(p_key text, p_holder text, p_label text, p_lease_ms integer, p_wait_ms integer, OUT token bigint, OUT remaining_ms bigint)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET lock_timeout TO '1s'
AS $function$
declare
  v_lease lock_lease;
  v_now timestamptz;
begin
  -- Looked at without a lock first: who waits and looks again writes nothing.
  select * into v_lease from lock_lease l where l.key = p_key;
  v_now := clock_timestamp();
  if v_lease.holder <> p_holder and v_lease.expires_at > v_now
    and (p_wait_ms = 0 or v_lease.wanted_until >= v_now + p_wait_ms * interval '1 ms')
  then
    remaining_ms := ceil(extract(epoch from v_lease.expires_at - v_now) * 1000);
    return;
  end if;
  loop
    select * into v_lease from lock_lease l where l.key = p_key for update;
    exit when found;
    -- A rival may have been first: then the row is looked for again, and waited for.
    insert into lock_lease (key, token) values (p_key, 0) on conflict do nothing;
  end loop;
  -- Read when the row is ours: waiting for it costs nothing of the lease, and nothing is judged by an older time.
  v_now := clock_timestamp();
  if v_lease.holder <> p_holder and v_lease.expires_at > v_now then
    -- A second more than needed, so that the looks of one waiter mark the row once.
    update lock_lease l
    set wanted_until = greatest(l.wanted_until, v_now + (p_wait_ms + 1000) * interval '1 ms')
    where l.key = p_key and p_wait_ms > 0;
    remaining_ms := ceil(extract(epoch from v_lease.expires_at - v_now) * 1000);
    return;
  end if;
  update lock_lease l set
    holder = p_holder,
    token = case when l.holder = p_holder then l.token else nextval('lock_token') end,
    label = p_label, acquired_at = v_now, expires_at = v_now + p_lease_ms * interval '1 ms'
  where l.key = p_key
  returning l.token into token;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.lock_commit(p_key text, p_holder text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  update lock_lease l set holder = null, expires_at = clock_timestamp()
  where l.key = p_key and l.holder = p_holder and l.expires_at > clock_timestamp();
  if not found then
    raise exception 'the lease of lock "%" was lost before COMMIT: nothing was committed', p_key
      using errcode = 'DU016', hint = 'Take the lock again and read again what was read under it.';
  end if;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.lock_force_release(p_key text, p_actor text, p_reason text)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  update lock_lease l set holder = null, expires_at = clock_timestamp()
  where l.key = p_key and l.holder is not null and l.expires_at > clock_timestamp();
  if not found then
    return false;
  end if;
  insert into audit_entry (actor, action, subject, reason)
  values (p_actor, 'lock.release', 'lock/' || p_key, p_reason);
  return true;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.lock_guard_write(p_resource text, p_token bigint, p_holder text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  insert into lock_guard as g (resource, token, holder, written_at)
  values (p_resource, p_token, p_holder, clock_timestamp())
  on conflict (resource) do update
  set token = excluded.token, holder = excluded.holder, written_at = excluded.written_at
  where g.token < excluded.token or (g.token = excluded.token and g.holder = excluded.holder);
  if not found then
    raise exception 'a write of "%" under fencing token % was refused: a later holder has written', p_resource, p_token
      using errcode = 'DU003', hint = 'The lock was lost. Take it again and read again what was read under it.';
  end if;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.lock_release(p_key text, p_holder text, p_keep_ms integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  perform set_config('synchronous_commit', 'off', true);
  update lock_lease l set
    holder = case when l.acquired_at + p_keep_ms * interval '1 ms' > clock_timestamp() then l.holder end,
    expires_at = greatest(clock_timestamp(), l.acquired_at + p_keep_ms * interval '1 ms')
  where l.key = p_key and l.holder = p_holder and l.expires_at > clock_timestamp();
  return found;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.log_append(p_topics text[], p_keys text[], p_envelopes text[], p_datas text[], p_sources text[], p_shards smallint[], p_epochs bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_partitions smallint;
  v_partition smallint;
  v_stale record;
begin
  select partition_count into strict v_partitions from log_setting;
  for v_partition in
    select distinct ((hashtextextended(k, 0) & 9223372036854775807) % v_partitions)::smallint
    from unnest(p_keys) k order by 1
  loop
    perform pg_advisory_xact_lock(hashtextextended('dure.log:' || current_schema() || v_partition, 0));
  end loop;
  -- After the locks: a producer that was replaced while it waited is seen to be old.
  insert into log_producer as p (source, shard, epoch)
  select f.source, f.shard, f.epoch from unnest(p_sources, p_shards, p_epochs) as f (source, shard, epoch)
  where not exists (
    select 1 from log_producer e where e.source = f.source and e.shard = f.shard and e.epoch >= f.epoch
  )
  order by 1, 2
  on conflict (source, shard) do update set epoch = greatest(p.epoch, excluded.epoch);
  select f.source, f.shard, f.epoch, p.epoch as newer into v_stale
  from unnest(p_sources, p_shards, p_epochs) as f (source, shard, epoch)
  join log_producer p on p.source = f.source and p.shard = f.shard and p.epoch > f.epoch
  limit 1;
  if found then
    raise exception 'shard % of % was taken over: epoch % is older than %',
      v_stale.shard, v_stale.source, v_stale.epoch, v_stale.newer using errcode = 'DU003';
  end if;
  insert into log_message (position, appended_at, partition, topic, envelope, data)
  select nextval('log_position'), clock_timestamp(), m.partition, m.topic, m.envelope, m.data
  from (
    select ((hashtextextended(t.key, 0) & 9223372036854775807) % v_partitions)::smallint as partition,
      t.topic, t.envelope, t.data
    from unnest(p_topics, p_keys, p_envelopes, p_datas) with ordinality as t (topic, key, envelope, data, n)
    order by t.n
  ) m;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.log_publish(p_topics text[], p_keys text[], p_envelopes text[], p_datas text[], p_sources text[], p_shards smallint[], p_epochs bigint[])
 RETURNS smallint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  v_count smallint;
  v_partitions smallint[];
  v_stale record;
begin
  select partition_count into strict v_count from log_setting;
  select array_agg(distinct ((hashtextextended(k, 0) & 9223372036854775807) % v_count)::smallint order by
    ((hashtextextended(k, 0) & 9223372036854775807) % v_count)::smallint)
  into v_partitions from unnest(p_keys) k;
  -- In the order of the array, which is one order for all: no two publishers wait for each other in a ring.
  perform pg_advisory_xact_lock(hashtextextended('dure.log:' || current_schema() || p, 0))
  from unnest(v_partitions) p;
  -- After the locks: a producer that was replaced while it waited is seen to be old.
  perform from unnest(p_sources, p_shards, p_epochs) as f (source, shard, epoch)
  left join log_producer p on p.source = f.source and p.shard = f.shard
  where p.epoch is distinct from f.epoch;
  if found then
    insert into log_producer as p (source, shard, epoch)
    select f.source, f.shard, f.epoch from unnest(p_sources, p_shards, p_epochs) as f (source, shard, epoch)
    where not exists (
      select 1 from log_producer e where e.source = f.source and e.shard = f.shard and e.epoch >= f.epoch
    )
    order by 1, 2
    on conflict (source, shard) do update set epoch = greatest(p.epoch, excluded.epoch);
    select f.source, f.shard, f.epoch, p.epoch as newer into v_stale
    from unnest(p_sources, p_shards, p_epochs) as f (source, shard, epoch)
    join log_producer p on p.source = f.source and p.shard = f.shard and p.epoch > f.epoch
    limit 1;
    if found then
      raise exception 'shard % of % was taken over: epoch % is older than %',
        v_stale.shard, v_stale.source, v_stale.epoch, v_stale.newer using errcode = 'DU003';
    end if;
  end if;
  insert into log_message (position, appended_at, partition, topic, envelope, data)
  select nextval('log_position'), clock_timestamp(), m.partition, m.topic, m.envelope, m.data
  from (
    select ((hashtextextended(t.key, 0) & 9223372036854775807) % v_count)::smallint as partition,
      t.topic, t.envelope, t.data
    from unnest(p_topics, p_keys, p_envelopes, p_datas) with ordinality as t (topic, key, envelope, data, n)
    order by t.n
  ) m;
  return v_partitions;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.log_read(p_topics text[], p_partitions smallint[], p_positions bigint[], p_limit integer)
 RETURNS TABLE(partition smallint, "position" bigint, envelope text, data text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET work_mem TO '64MB'
AS $function$
#variable_conflict use_column
begin
  return query
    select r.partition, m.position, m.envelope, m.data
    from (
      select partition, array_agg(topic) as topics, array_agg(position) as positions
      from unnest(p_topics, p_partitions, p_positions) as c (topic, partition, position)
      group by partition
    ) r
    cross join lateral (
      select f.* from unnest(r.topics, r.positions) as c (topic, position)
      cross join lateral (
        select l.position, l.envelope, l.data from log_message l
        where l.topic = c.topic and l.partition = r.partition and l.position > c.position
        order by l.position limit p_limit
      ) f
      order by f.position limit p_limit
    ) m
    order by r.partition, m.position;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_advance(p_scope text, p_member uuid, p_shards smallint[], p_epochs bigint[], p_ns bigint[], p_lows bigint[], p_dones text[], p_parked jsonb, p_resolved bigint[])
 RETURNS smallint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_fenced smallint[];
begin
  -- Shared: a take-over waits until this commits, and then reads what this wrote.
  perform pg_advisory_xact_lock_shared(claim_lock_key(p_scope));
  select coalesce(array_agg(a.shard), '{}') into v_fenced
  from unnest(p_shards, p_epochs) as a (shard, epoch)
  where not exists (
    select 1 from claim c
    where c.scope = p_scope and c.slot = a.shard and c.epoch = a.epoch and c.member_id = p_member
  );
  insert into outbox_cursor (shard, epoch, n, low, done)
  select a.shard, a.epoch, a.n, a.low, a.done::int8multirange
  from unnest(p_shards, p_epochs, p_ns, p_lows, p_dones) as a (shard, epoch, n, low, done)
  where a.shard <> all (v_fenced);
  if p_parked is not null then
    perform park('relay', p ->> 'consumer', p -> 'message', p -> 'failure', (p ->> 'skips')::boolean)
    from (select p from jsonb_array_elements(p_parked) with ordinality as e (p, n) order by n) ordered
    where (p ->> 'shard')::smallint <> all (v_fenced);
  end if;
  perform parked_resolve(r) from unnest(p_resolved) r;
  return v_fenced;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_append(p_source text, p_events jsonb, p_is_in_transaction boolean)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_is_read_committed constant boolean := current_setting('transaction_isolation') = 'read committed';
  v_count integer;
begin
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return -1;
  end if;
  -- Numeric order: two transactions that emit for the same keys take their locks in one order. Text order
  -- would deadlock where the hashes of two keys collide.
  perform pg_advisory_xact_lock(outbox_lock_namespace() + l.shard, l.lock)
  from (
    select distinct
      ((h.hash & 9223372036854775807) % outbox_shard_count())::integer as shard,
      ((h.hash >> 24) & 2147483647)::integer as lock
    from (
      select hashtextextended((e ->> 'topic') || chr(31) || (e ->> 'key'), 0) as hash
      from jsonb_array_elements(p_events) e
    ) h
    order by 1, 2 limit 1001
  ) l;
  get diagnostics v_count = row_count;
  if v_count > 1000 then
    raise exception 'a transaction may emit for at most 1,000 keys, this one has more'
      using errcode = 'DU002', hint = 'Split the work: each lock takes a place in the shared lock table.';
  end if;
  -- Positions in the order of the call; events of one stream link among themselves, its first one by look-up.
  insert into outbox_message (
    position, written_at, stream_hash, id, previous_id, previous_at, shard, version, link_verified,
    source, topic, key, type, data, context
  )
  select
    nextval((outbox_sequences())[(e.key_hash & 9223372036854775807) % outbox_shard_count() + 1]),
    clock_timestamp(), e.stream_hash, e.id,
    case when e.before is not null then e.before when previous.is_same then previous.id end,
    case when e.before is not null then clock_timestamp() when previous.is_same then previous.written_at end,
    (e.key_hash & 9223372036854775807) % outbox_shard_count(), e.version,
    v_is_read_committed and coalesce(previous.is_same, true),
    p_source, e.topic, e.key, e.type, e.data, e.context
  from (
    select r.*,
      hashtextextended(r.topic || chr(31) || r.key, 0) as key_hash,
      hashtextextended(p_source || chr(31) || r.topic || chr(31) || r.key, 0) as stream_hash,
      lag(r.id) over (partition by r.topic, r.key order by r.n) as before
    from rows from (jsonb_to_recordset(p_events) as (
      id uuid, topic text, key text, type text, version smallint, data text, context jsonb
    )) with ordinality as r (id, topic, key, type, version, data, context, n)
    order by r.n
  ) e
  left join lateral (
    select m.id, m.written_at, m.source = p_source and m.topic = e.topic and m.key = e.key as is_same
    from outbox_message m
    where e.before is null and m.stream_hash = e.stream_hash
    order by m.position desc limit 1
  ) previous on true;
  get diagnostics v_count = row_count;
  return v_count;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_append_one(p_source text, p_id uuid, p_topic text, p_key text, p_type text, p_version smallint, p_data text, p_context jsonb, p_is_in_transaction boolean)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_key_hash constant bigint := hashtextextended(p_topic || chr(31) || p_key, 0);
  v_stream_hash constant bigint := hashtextextended(p_source || chr(31) || p_topic || chr(31) || p_key, 0);
  v_shard constant smallint := (v_key_hash & 9223372036854775807) % outbox_shard_count();
  v_void text;
begin
  -- A transaction that has written has an id; a statement that is alone in its own has none yet. Without one
  -- nothing tells here, and nothing is written: the caller proves it by a statement that needs a transaction.
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return -1;
  end if;
  -- As an assignment: PERFORM would run it as a statement of its own.
  v_void := pg_advisory_xact_lock(outbox_lock_namespace() + v_shard, ((v_key_hash >> 24) & 2147483647)::integer);
  -- A statement after the lock: at READ COMMITTED its snapshot sees whoever held the lock before.
  insert into outbox_message (
    position, written_at, stream_hash, id, previous_id, previous_at, shard, version, link_verified,
    source, topic, key, type, data, context
  )
  select
    nextval((outbox_sequences())[v_shard + 1]), clock_timestamp(), v_stream_hash, p_id,
    case when previous.is_same then previous.id end, case when previous.is_same then previous.written_at end,
    v_shard, p_version,
    -- Elsewhere the snapshot is older than the lock; and behind a stream whose hash collides nothing is known.
    current_setting('transaction_isolation') = 'read committed' and coalesce(previous.is_same, true),
    p_source, p_topic, p_key, p_type, p_data, p_context
  from (values (1)) as one (event)
  left join lateral (
    select m.id, m.written_at, m.source = p_source and m.topic = p_topic and m.key = p_key as is_same
    from outbox_message m
    where m.stream_hash = v_stream_hash
    order by m.position desc limit 1
  ) previous on true;
  return 1;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_emit(p_source text, p_events jsonb, p_is_in_transaction boolean)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_state text;
  v_incarnation integer;
  v_count integer;
begin
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return -1;
  end if;
  select tableless, incarnation into strict v_state, v_incarnation from outbox_setting;
  if v_state <> 'on' then
    raise exception 'no slot keeps the write-ahead log for events that stand there alone (tableless: %)', v_state
      using errcode = 'DU011',
        hint = case v_state when 'lost' then 'Its slot was lost: run "dure relay resync", then events are taken again.'
          else 'Start a process that relays by the log (postgresStore: wal) first.' end;
  end if;
  perform pg_advisory_xact_lock(outbox_lock_namespace() + l.shard, l.lock)
  from (
    select distinct
      ((h.hash & 9223372036854775807) % outbox_shard_count())::integer as shard,
      ((h.hash >> 24) & 2147483647)::integer as lock
    from (
      select hashtextextended((e ->> 'topic') || chr(31) || (e ->> 'key'), 0) as hash
      from jsonb_array_elements(p_events) e
    ) h
    order by 1, 2 limit 1001
  ) l;
  get diagnostics v_count = row_count;
  if v_count > 1000 then
    raise exception 'a transaction may emit for at most 1,000 keys, this one has more'
      using errcode = 'DU002', hint = 'Split the work: each lock takes a place in the shared lock table.';
  end if;
  perform pg_logical_emit_message(true, outbox_wal_slot(), json_build_object(
    'position', nextval((outbox_sequences())[(e.key_hash & 9223372036854775807) % outbox_shard_count() + 1])::text,
    'shard', (e.key_hash & 9223372036854775807) % outbox_shard_count(),
    'id', e.id, 'source', p_source, 'topic', e.topic, 'key', e.key, 'type', e.type, 'version', e.version,
    'data', e.data, 'context', e.context, 'written_at', clock_timestamp(), 'incarnation', v_incarnation
  )::text)
  from (
    select r.*, hashtextextended(r.topic || chr(31) || r.key, 0) as key_hash
    from rows from (jsonb_to_recordset(p_events) as (
      id uuid, topic text, key text, type text, version smallint, data text, context jsonb
    )) with ordinality as r (id, topic, key, type, version, data, context, n)
    order by r.n
  ) e;
  get diagnostics v_count = row_count;
  return v_count;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_is_behind(p_shard smallint)
 RETURNS boolean
 LANGUAGE sql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
  select coalesce(pg_sequence_last_value(o.position_sequences[p_shard + 1]), 0) < coalesce((
    select greatest(c.low, coalesce(upper(range_merge(c.done)) - 1, 0))
    from outbox_cursor c where c.shard = p_shard order by c.epoch desc, c.n desc limit 1
  ), 0)
  from outbox_setting o
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_is_set_back(p_shard smallint, p_records integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_sequence regclass;
  v_cursor record;
  v_found boolean;
begin
  select position_sequences[p_shard + 1] into strict v_sequence from outbox_setting;
  -- One statement: the sequence is read after the snapshot was taken, so it cannot be behind by a race.
  select coalesce(max(newest.position), 0) > coalesce(pg_sequence_last_value(v_sequence), 0)
    or count(*) > count(distinct newest.position)
  into v_found
  from (
    select m.position from outbox_message m where m.shard = p_shard order by m.position desc limit 1000
  ) newest;
  if v_found then
    return true;
  end if;
  for v_cursor in
    select distinct on (date_trunc('minute', c.written_at))
      c.low, c.done, c.written_at, greatest(c.low, coalesce(upper(range_merge(c.done)) - 1, 0)) as head
    from outbox_cursor c where c.shard = p_shard
    order by date_trunc('minute', c.written_at) desc, c.epoch desc, c.n desc limit p_records
  loop
    select count(*) > count(distinct m.position)
      or coalesce(bool_or(m.written_at > v_cursor.written_at + interval '10 s'), false)
    into v_found
    from outbox_message m
    where m.shard = p_shard and m.position > v_cursor.head - 1000 and m.position <= v_cursor.head
      and (m.position <= v_cursor.low or v_cursor.done @> m.position);
    if v_found then
      return true;
    end if;
  end loop;
  return false;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_lock_namespace()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$select 153093120$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_open_ranges(p_low bigint, p_done int8multirange)
 RETURNS TABLE(first bigint, last bigint)
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE ROWS 4
AS $function$
  select lower(r), coalesce(upper(r), 9223372036854775807) - 1
  from unnest(int8multirange(int8range(coalesce(p_low, 0) + 1, null)) - coalesce(p_done, '{}')) as r
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_positions()
 RETURNS TABLE(last bigint, incarnation bigint, is_paused boolean, tableless text)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
#variable_conflict use_column
begin
  return query
    select coalesce(pg_sequence_last_value(p.sequence), 0), s.incarnation::bigint,
      exists (select from outbox_pause), s.tableless
    from outbox_setting s, unnest(s.position_sequences) with ordinality as p (sequence, n)
    order by p.n;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_read(p_shards smallint[], p_heads bigint[], p_gap_shards smallint[], p_gap_lows bigint[], p_gap_highs bigint[], p_limit integer)
 RETURNS TABLE(shard smallint, "position" bigint, id uuid, previous_id uuid, link_verified boolean, source text, topic text, key text, type text, version smallint, data text, context jsonb, written_at timestamp with time zone, previous_at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET work_mem TO '64MB'
AS $function$
#variable_conflict use_column
begin
  if cardinality(p_gap_shards) = 0 then
    return query
      select m.shard, m.position, m.id, m.previous_id, m.link_verified, m.source, m.topic, m.key,
        m.type, m.version, m.data, m.context, m.written_at, m.previous_at
      from unnest(p_shards, p_heads) as r (shard, head)
      cross join lateral (
        select * from outbox_message o
        where o.shard = r.shard and o.position > r.head
        order by o.position limit p_limit
      ) m;
    return;
  end if;
  return query
    select m.shard, m.position, m.id, m.previous_id, m.link_verified, m.source, m.topic, m.key,
      m.type, m.version, m.data, m.context, m.written_at, m.previous_at
    from unnest(p_shards, p_heads) as r (shard, head)
    cross join lateral (
      select f.* from (
        select g.* from unnest(p_gap_shards, p_gap_lows, p_gap_highs) as gap (shard, low, high)
        cross join lateral (
          select * from outbox_message o
          where o.shard = r.shard and o.position between gap.low and gap.high
          order by o.position limit p_limit
        ) g
        where gap.shard = r.shard
        union all
        (
          select * from outbox_message o
          where o.shard = r.shard and o.position > r.head
          order by o.position limit p_limit
        )
      ) f
      order by f.position limit p_limit
    ) m
    order by m.shard, m.position;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_rebase(p_shard smallint)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_sequence regclass;
  v_cursor outbox_cursor;
  v_base bigint;
  v_count bigint;
  v_is_old boolean;
begin
  -- No relay can record progress, and no writer can write, until this is over.
  perform pg_advisory_xact_lock(claim_lock_key('outbox'));
  lock table outbox_message in share row exclusive mode;
  -- Only this function and other rebases write the row, so nobody waits for its lock but they.
  update outbox_setting set incarnation = incarnation + 1
  returning position_sequences[p_shard + 1] into strict v_sequence;
  select * into v_cursor from outbox_cursor where shard = p_shard order by epoch desc, n desc limit 1;
  select greatest(
    coalesce(v_cursor.low, 0), coalesce(upper(range_merge(v_cursor.done)) - 1, 0),
    coalesce(pg_sequence_last_value(v_sequence), 0),
    coalesce((select m.position from outbox_message m where m.shard = p_shard order by m.position desc limit 1), 0)
  ) into v_base;
  -- A set-back that older records show: a relay has gone on since, and the newest record came after it.
  v_is_old := outbox_is_set_back(p_shard, 200);
  with moved as materialized (
    select m.tableoid as part, m.ctid as place, m.written_at, m.position
    from outbox_message m
    where m.shard = p_shard and m.written_at > coalesce(v_cursor.written_at, '-infinity')
    union
    select m.tableoid, m.ctid, m.written_at, m.position
    from outbox_message m
    where v_is_old and m.shard = p_shard and m.written_at <= v_cursor.written_at
      and m.written_at > (select min(c.written_at) from outbox_cursor c where c.shard = p_shard)
      and exists (
        select from outbox_cursor c
        where c.shard = p_shard and c.written_at < m.written_at
          and (m.position <= c.low or c.done @> m.position)
      )
    union
    -- The later of two at one position.
    select d.part, d.place, d.written_at, d.position from (
      select m.tableoid as part, m.ctid as place, m.written_at, m.position,
        row_number() over (partition by m.position order by m.written_at, m.id) as rank
      from outbox_message m
      where v_is_old and m.shard = p_shard
    ) d where d.rank > 1
  ), numbered as (
    select part, place, row_number() over (order by written_at, position) as n from moved
  )
  update outbox_message m set position = v_base + h.n
  from numbered h where m.tableoid = h.part and m.ctid = h.place;
  get diagnostics v_count = row_count;
  perform setval(v_sequence, greatest(1, v_base + v_count));
  return v_count;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_record(p_scope text, p_member uuid, p_source text, p_shards smallint[], p_epochs bigint[], p_moved smallint[], p_ns bigint[], p_lows bigint[], p_dones text[], p_parked jsonb, p_resolved bigint[], p_failed jsonb)
 RETURNS smallint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_fenced smallint[];
  v_lock bigint;
  v_topics text[];
  v_keys text[];
begin
  -- Shared: a take-over waits until this commits, and then reads what this wrote.
  perform pg_advisory_xact_lock_shared(claim_lock_key(p_scope));
  select coalesce(array_agg(a.shard), '{}') into v_fenced
  from unnest(p_shards, p_epochs) as a (shard, epoch)
  where not exists (
    select 1 from claim c
    where c.scope = p_scope and c.slot = a.shard and c.epoch = a.epoch and c.member_id = p_member
  );
  insert into outbox_cursor (shard, epoch, n, low, done)
  select a.shard, o.epoch, a.n, a.low, a.done::int8multirange
  from unnest(p_moved, p_ns, p_lows, p_dones) as a (shard, n, low, done)
  join unnest(p_shards, p_epochs) as o (shard, epoch) on o.shard = a.shard
  where a.shard <> all (v_fenced);
  if p_parked is null and p_resolved is null and p_failed is null then
    return v_fenced;
  end if;
  for v_lock in
    select distinct parked_lock_key('relay', p_source, s, null, null) from unnest(p_shards) s
    where s <> all (v_fenced) order by 1
  loop
    perform pg_advisory_xact_lock(v_lock);
  end loop;
  if p_parked is not null then
    perform park_rows('relay', (
      select coalesce(jsonb_agg(p order by n), '[]')
      from jsonb_array_elements(p_parked) with ordinality as e (p, n)
      where (p ->> 'shard')::smallint <> all (v_fenced)
    ));
  end if;
  if p_resolved is not null then
    with gone as (
      delete from parked_message
      where id = any (p_resolved) and side = 'relay' and shard = any (p_shards) and shard <> all (v_fenced)
      returning topic, key, blocks_key
    ), freed as (
      select distinct topic, key from gone where blocks_key
    )
    select array_agg(topic), array_agg(key) into v_topics, v_keys from freed;
    -- In a statement after the delete: within it the heads that went would still be seen.
    update parked_message m set state = 'retrying', next_attempt_at = clock_timestamp()
    where m.state = 'held' and m.id in (
      select (
        select min(h.id) from parked_message h
        where h.side = 'relay' and h.consumer = p_source and h.topic = k.topic and h.key = k.key and h.blocks_key
      )
      from unnest(v_topics, v_keys) as k (topic, key)
    );
  end if;
  if p_failed is not null then
    perform parked_fail((f ->> 'id')::bigint, f -> 'failure', (f ->> 'skips')::boolean)
    from jsonb_array_elements(p_failed) f
    where (f ->> 'shard')::smallint <> all (v_fenced);
  end if;
  return v_fenced;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_sequences()
 RETURNS regclass[]
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$select '{outbox_position_0,outbox_position_1,outbox_position_2,outbox_position_3,outbox_position_4,outbox_position_5,outbox_position_6,outbox_position_7}'::regclass[]$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_set_tableless(p_state text)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_before text;
begin
  select tableless into strict v_before from outbox_setting for update;
  if p_state = 'on' and v_before = 'off' and exists (
    select from claim_member where scope = 'outbox' and lease_until > clock_timestamp()
  ) then
    raise exception 'tableless events cannot be switched on while relays of this outbox are at work'
      using errcode = 'DU010', hint = 'Stop every process that relays, then start those that relay by the log.';
  end if;
  update outbox_setting set tableless = p_state where tableless <> p_state;
  return v_before;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_shard_count()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$select 8$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_stream_hash(p_source text, p_topic text, p_key text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select hashtextextended(p_source || chr(31) || p_topic || chr(31) || p_key, 0)
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_wal_publication()
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'dure', 'pg_temp'
AS $function$
  select left('dure_outbox_' || regexp_replace(lower(current_schema()), '[^a-z0-9_]', '_', 'g'), 63)
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_wal_publish()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  perform pg_advisory_xact_lock(hashtextextended('dure.wal:' || current_schema(), 0));
  if not exists (select from pg_publication where pubname = outbox_wal_publication()) then
    execute format(
      'create publication %I for table %I.outbox_message with (publish = ''insert'', publish_via_partition_root = true)',
      outbox_wal_publication(), current_schema()
    );
  end if;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_wal_resync(p_actor text, p_reason text)
 RETURNS TABLE(shard smallint, missing bigint)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
#variable_conflict use_column
declare
  v_state text;
begin
  select tableless into strict v_state from outbox_setting for update;
  return query
    select s.shard, coalesce(sum(r.until - r.first + 1 - (
      select count(*) from outbox_message m where m.shard = s.shard and m.position between r.first and r.until
    )), 0)::bigint
    from (
      select (n - 1)::smallint as shard, coalesce(pg_sequence_last_value(sequence), 0) as last
      from outbox_setting, unnest(position_sequences) with ordinality as u (sequence, n)
    ) s
    left join lateral (
      select low, done from outbox_cursor where shard = s.shard order by epoch desc, n desc limit 1
    ) c on true
    left join lateral (
      select o.first, least(o.last, s.last) as until from outbox_open_ranges(c.low, c.done) o where o.first <= s.last
    ) r on true
    group by s.shard order by s.shard;
  if v_state = 'lost' then
    update outbox_setting set tableless = 'on';
  end if;
  insert into audit_entry (actor, action, subject, reason) values (p_actor, 'relay.resync', 'outbox', p_reason);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.outbox_wal_slot()
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'dure', 'pg_temp'
AS $function$
  select left('dure_' || d.oid || '_' || regexp_replace(lower(current_schema()), '[^a-z0-9_]', '_', 'g'), 63)
  from pg_database d where d.datname = current_database()
$function$
;

CREATE OR REPLACE FUNCTION dure.park(p_side text, p_consumer text, p_message jsonb, p_failure jsonb, p_skips boolean)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  perform park_all(p_side, jsonb_build_array(jsonb_build_object(
    'consumer', p_consumer, 'message', p_message, 'failure', p_failure, 'skips', p_skips,
    'shard', p_message -> 'shard'
  )));
  return (
    select state from parked_message
    where side = p_side and consumer = p_consumer and message_id = p_message ->> 'id'
  );
end
$function$
;

CREATE OR REPLACE FUNCTION dure.park_all(p_side text, p_requests jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_lock bigint;
begin
  for v_lock in
    select distinct parked_lock_key(
      p_side, r ->> 'consumer', (r ->> 'shard')::smallint, r -> 'message' ->> 'topic', r -> 'message' ->> 'key'
    )
    from jsonb_array_elements(p_requests) r order by 1
  loop
    perform pg_advisory_xact_lock(v_lock);
  end loop;
  perform park_rows(p_side, p_requests);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.park_rows(p_side text, p_requests jsonb)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
  insert into parked_message (
    side, consumer, topic, key, message_id, type, message, shard, state, blocks_key, attempts,
    error_code, last_error, first_failed_at, last_failed_at, next_attempt_at
  )
  select
    p_side, p.consumer, p.topic, p.key, p.message_id, p.message ->> 'type', p.message, p.shard,
    case
      when p.is_final then 'dead'
      when p.blocked_by > 0 or blocking.is_there then 'held'
      else 'retrying'
    end,
    p.blocks, case when p.failure is null then 0 else 1 end, p.failure ->> 'code', p.failure ->> 'error',
    case when p.failure is not null then clock_timestamp() end,
    case when p.failure is not null then clock_timestamp() end,
    clock_timestamp() + coalesce((p.failure ->> 'retryInMs')::integer, 0) * interval '1 ms'
  from (
    select x.*, count(*) filter (where x.blocks) over (
      partition by x.consumer, x.topic, x.key order by x.n, x.place
      rows between unbounded preceding and 1 preceding
    ) as blocked_by
    from (
      select e.n, t.place, r.consumer, r.message ->> 'topic' as topic, r.message ->> 'key' as key, r.shard,
        case when t.place = 0 then 'tombstone:' else '' end || (r.message ->> 'id') as message_id,
        case when t.place = 0 then parked_tombstone(r.message) else r.message end as message,
        case when t.place = 1 then r.failure end as failure,
        t.place = 1 and r.is_final as is_final,
        t.place = 0 or not (r.is_final and r.skips) as blocks
      from jsonb_array_elements(p_requests) with ordinality as e (request, n)
      cross join lateral (
        select e.request ->> 'consumer' as consumer, e.request -> 'message' as message,
          nullif(e.request -> 'failure', 'null') as failure, (e.request ->> 'shard')::smallint as shard,
          coalesce((e.request -> 'failure' ->> 'isFinal')::boolean, false) as is_final,
          (e.request ->> 'skips')::boolean as skips
        offset 0
      ) r
      cross join lateral generate_series(
        case when p_side = 'relay' and r.is_final and r.skips then 0 else 1 end, 1
      ) as t (place)
    ) x
  ) p
  -- One look into the index for each; a join would be free to read all that is parked.
  cross join lateral (
    select exists (
      select from parked_message m
      where m.side = p_side and m.consumer = p.consumer and m.topic = p.topic and m.key = p.key and m.blocks_key
      limit 1
    ) as is_there
  ) blocking
  order by p.n, p.place
  on conflict do nothing
$function$
;

CREATE OR REPLACE FUNCTION dure.parked_bury(p_row dure.parked_message)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_id text := 'tombstone:' || p_row.message_id;
begin
  if exists (
    select from parked_message
    where side = p_row.side and consumer = p_row.consumer and message_id = v_id
  ) then
    return false;
  end if;
  update parked_message set
    message_id = v_id, message = parked_tombstone(message), type = 'dure.tombstone',
    state = 'retrying', attempts = 0, error_code = null, last_error = null, first_failed_at = null,
    last_failed_at = null, next_attempt_at = clock_timestamp()
  where id = p_row.id;
  return true;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.parked_discard(p_id bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_row parked_message;
begin
  select * into v_row from parked_message where id = p_id;
  if not found then
    return false;
  end if;
  perform pg_advisory_xact_lock(
    parked_lock_key(v_row.side, v_row.consumer, v_row.shard, v_row.topic, v_row.key));
  -- It may have been redriven, or discarded, while this waited.
  select * into v_row from parked_message where id = p_id for update;
  if not found or v_row.state <> 'dead' then
    return false;
  end if;
  if v_row.side = 'relay' and v_row.blocks_key and parked_bury(v_row) then
    return true;
  end if;
  delete from parked_message where id = p_id;
  perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  return true;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.parked_fail(p_id bigint, p_failure jsonb, p_skips boolean)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_row parked_message;
  v_is_final boolean := (p_failure ->> 'isFinal')::boolean;
begin
  select * into v_row from parked_message where id = p_id;
  if not found then
    return null;
  end if;
  perform pg_advisory_xact_lock(
    parked_lock_key(v_row.side, v_row.consumer, v_row.shard, v_row.topic, v_row.key));
  -- By the id alone: with its state beside it, old statistics make the planner read all that is being retried.
  select * into v_row from parked_message where id = p_id for update;
  if not found or v_row.state <> 'retrying' then
    return null;
  end if;
  v_row.attempts := v_row.attempts + 1;
  v_row.state := case when v_is_final then 'dead' else 'retrying' end;
  v_row.error_code := p_failure ->> 'code';
  v_row.last_error := p_failure ->> 'error';
  v_row.first_failed_at := coalesce(v_row.first_failed_at, clock_timestamp());
  v_row.last_failed_at := clock_timestamp();
  v_row.next_attempt_at :=
    clock_timestamp() + coalesce((p_failure ->> 'retryInMs')::integer, 0) * interval '1 ms';
  if v_is_final and p_skips and v_row.blocks_key then
    v_row.blocks_key := false;
    if v_row.side = 'relay' and parked_bury(v_row) then
      insert into parked_message (
        side, consumer, topic, key, message_id, type, message, shard, state, blocks_key, attempts,
        error_code, last_error, first_failed_at, last_failed_at, next_attempt_at, parked_at
      ) values (
        v_row.side, v_row.consumer, v_row.topic, v_row.key, v_row.message_id, v_row.type, v_row.message,
        v_row.shard, v_row.state, v_row.blocks_key, v_row.attempts, v_row.error_code, v_row.last_error,
        v_row.first_failed_at, v_row.last_failed_at, v_row.next_attempt_at, v_row.parked_at
      );
      return v_row.state;
    end if;
  end if;
  update parked_message set
    attempts = v_row.attempts, state = v_row.state, blocks_key = v_row.blocks_key,
    error_code = v_row.error_code, last_error = v_row.last_error, first_failed_at = v_row.first_failed_at,
    last_failed_at = v_row.last_failed_at, next_attempt_at = v_row.next_attempt_at
  where id = p_id;
  if not v_row.blocks_key then
    perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  end if;
  return v_row.state;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.parked_lock_key(p_side text, p_consumer text, p_shard smallint, p_topic text, p_key text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select hashtextextended(
    'dure.parked:' || p_side || chr(31) || p_consumer || chr(31)
      || case when p_side = 'relay' then coalesce(p_shard, -1)::text else p_topic || chr(31) || p_key end, 0)
$function$
;

CREATE OR REPLACE FUNCTION dure.parked_promote(p_side text, p_consumer text, p_topic text, p_key text)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
  update parked_message m set state = 'retrying', next_attempt_at = clock_timestamp()
  where m.id = (
    select min(h.id) from parked_message h
    where h.side = p_side and h.consumer = p_consumer and h.topic = p_topic and h.key = p_key
      and h.blocks_key
  ) and m.state = 'held'
$function$
;

CREATE OR REPLACE FUNCTION dure.parked_resolve(p_id bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_row parked_message;
begin
  select * into v_row from parked_message where id = p_id;
  if not found then
    return false;
  end if;
  if v_row.state = 'dead' then
    -- An operator with a version of the library that knows no tombstones.
    return parked_discard(p_id);
  end if;
  perform pg_advisory_xact_lock(
    parked_lock_key(v_row.side, v_row.consumer, v_row.shard, v_row.topic, v_row.key));
  delete from parked_message where id = p_id;
  if not found then
    return false;
  end if;
  perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  return true;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.parked_resolve_all(p_ids bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_row parked_message;
begin
  select * into v_row from parked_message where id = p_ids[1];
  if not found then
    return;
  end if;
  perform pg_advisory_xact_lock(
    parked_lock_key(v_row.side, v_row.consumer, v_row.shard, v_row.topic, v_row.key));
  delete from parked_message where id = any (p_ids);
  perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.parked_tombstone(p_message jsonb)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select (p_message - 'redriven')
    || '{"type": "dure.tombstone", "version": 1, "data": "null", "tombstone": true}'::jsonb
$function$
;

CREATE OR REPLACE FUNCTION dure.partition_archived(p_name text, p_token bigint, p_count bigint, p_checksum text)
 RETURNS TABLE(outcome text, row_count bigint, checksum text)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  perform from partition_archive a where a.name = p_name and a.token = p_token and a.dropped_at is null for update;
  if not found then
    return query select 'fenced'::text, null::bigint, null::text;
    return;
  end if;
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_name);
  select c.row_count, c.checksum into row_count, checksum
  from partition_checksum(format('%I.%I', current_schema(), p_name)::regclass) c;
  if row_count is distinct from p_count or checksum is distinct from p_checksum then
    outcome := 'different';
  else
    execute format('drop table %I.%I', current_schema(), p_name);
    update partition_archive a set dropped_at = clock_timestamp(), last_error = null,
      row_count = partition_archived.row_count, checksum = partition_archived.checksum
    where a.name = p_name;
    outcome := 'dropped';
  end if;
  return next;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.partition_checksum(p_table regclass, OUT row_count bigint, OUT checksum text)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
begin
  execute format(
    $sql$
      select count(*), coalesce(sum(
        ('x' || encode(substring(sha256(convert_to(to_jsonb(t)::text, 'UTF8')) for 8), 'hex'))::bit(64)::bigint
      ), 0)::text
      from %s t
    $sql$, p_table
  ) into row_count, checksum;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.partition_create(p_table text, p_day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  if to_regclass(format('%I.%I', current_schema(), p_table || to_char(p_day, '_YYYYMMDD'))) is not null then
    return true;
  end if;
  set local lock_timeout = '50ms';
  execute format(
    'create table %I.%I partition of %I.%I for values from (%L) to (%L)',
    current_schema(), p_table || to_char(p_day, '_YYYYMMDD'), current_schema(), p_table,
    p_day::timestamp at time zone 'UTC', (p_day + 1)::timestamp at time zone 'UTC'
  );
  return true;
exception
  when check_violation or duplicate_table or lock_not_available then
    return false;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.partition_drop(p_table text, p_partition text, p_blocked_by text)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_is_needed boolean;
begin
  set local lock_timeout = '50ms';
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_table);
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_partition);
  execute format(p_blocked_by, current_schema(), p_partition) into v_is_needed;
  if v_is_needed then
    return false;
  end if;
  execute format('drop table %I.%I', current_schema(), p_partition);
  return true;
exception
  when lock_not_available then
    return false;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.partition_lines(p_name text, p_shard smallint, p_position bigint, p_id uuid)
 RETURNS TABLE(shard smallint, "position" bigint, id uuid, line text)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
begin
  return query execute format(
    $sql$
      select p.shard, p.position, p.id, to_jsonb(p)::text
      from (
        select k.shard, k.position, k.id,
          sum(octet_length(k.data)) over (order by k.shard, k.position, k.id) - octet_length(k.data) as bytes_before
        from (
          select shard, position, id, data from %1$I.%2$I
          where (shard, position, id) > ($1, $2, $3)
          order by shard, position, id limit 1000
        ) k
      ) b
      join %1$I.%2$I p on p.shard = b.shard and p.position = b.position and p.id = b.id
      where b.bytes_before < 8388608
      order by p.shard, p.position, p.id
    $sql$, current_schema(), p_name
  ) using p_shard, p_position, p_id;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.partition_retire(p_table text, p_partition text, p_blocked_by text, p_is_archived boolean)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_is_rest constant boolean := p_partition = p_table || '_rest';
  v_is_needed boolean;
  v_is_empty boolean;
  v_name text := p_partition;
begin
  set local lock_timeout = '50ms';
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_table);
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_partition);
  execute format(p_blocked_by, current_schema(), p_partition) into v_is_needed;
  if v_is_needed then
    return 'needed';
  end if;
  execute format('select not exists (select from %I.%I)', current_schema(), p_partition) into v_is_empty;
  if p_is_archived and not v_is_empty then
    execute format('alter table %1$I.%2$I detach partition %1$I.%3$I', current_schema(), p_table, p_partition);
    if v_is_rest then
      v_name := p_partition || to_char(clock_timestamp() at time zone 'UTC', '_YYYYMMDD_HH24MISSUS');
      execute format('alter table %I.%I rename to %I', current_schema(), p_partition, v_name);
    end if;
    insert into partition_archive (name, parent) values (v_name, p_table)
    -- The same day once more: made again, by hand, after it had been archived.
    on conflict (name) do update set detached_at = clock_timestamp(), dropped_at = null, last_error = null;
  else
    execute format('drop table %I.%I', current_schema(), p_partition);
  end if;
  if v_is_rest then
    execute format('create table %1$I.%2$I partition of %1$I.%3$I default', current_schema(), p_partition, p_table);
  end if;
  return case when p_is_archived and not v_is_empty then 'detached' else 'dropped' end;
exception
  when lock_not_available then
    return 'busy';
end
$function$
;

CREATE OR REPLACE FUNCTION dure.relay_rebase(p_shards smallint[], p_actor text, p_reason text)
 RETURNS TABLE(shard smallint, moved bigint, incarnation integer)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET lock_timeout TO '2s'
AS $function$
declare
  v_shard smallint;
begin
  -- Looked at without a lock first: where all is well, nobody waits.
  for v_shard in
    select s::smallint from outbox_setting o, generate_series(0, o.shard_count - 1) s
    where (p_shards is null or s = any (p_shards))
      and (outbox_is_behind(s::smallint) or outbox_is_set_back(s::smallint, 200))
    order by s
  loop
    -- Two operators at a time: the second finds nothing to do.
    perform pg_advisory_xact_lock(claim_lock_key('outbox'));
    if not (outbox_is_behind(v_shard) or outbox_is_set_back(v_shard, 200)) then
      continue;
    end if;
    shard := v_shard;
    moved := outbox_rebase(v_shard);
    select o.incarnation into incarnation from outbox_setting o;
    insert into audit_entry (actor, action, subject, reason)
    values (p_actor, 'relay.rebase', 'outbox/' || v_shard, p_reason);
    return next;
  end loop;
exception
  when lock_not_available then
    raise exception 'a writer''s transaction has stayed open for 2 s; nothing was changed'
      using errcode = 'DU004', hint = 'End it (pg_stat_activity) and run this again.';
end
$function$
;

CREATE OR REPLACE FUNCTION dure.row_lock(p_table text, p_column text, p_id text, p_wait_ms integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET lock_timeout TO '0'
AS $function$
begin
  perform set_config('lock_timeout', greatest(p_wait_ms, 1)::text, true);
  execute format('select from %s where %I = %L for update', p_table, p_column, p_id);
  return true;
exception when lock_not_available then
  return false;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_beat(p_process integer, p_lease_ms integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  update saga_process set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
  where process = p_process and fenced_at is null;
  return found;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_claim(p_process integer, p_definitions text[], p_versions integer[], p_limits integer[])
 RETURNS SETOF text
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
  -- Read once: clock_timestamp() is volatile, and what is volatile is no condition for an index.
  v_now constant timestamptz := clock_timestamp();
  v_signalled text[];
begin
  perform pg_advisory_xact_lock_shared(saga_lock_namespace(), p_process);
  perform from saga_process where process = p_process and fenced_at is null;
  if not found then
    raise exception 'dure: process % of the saga engine was fenced: its sagas belong to others', p_process
      using errcode = 'DU003';
  end if;
  select array_agg(distinct s.saga_id) into v_signalled
  from (select saga_id from saga_signal order by signal_id limit 1000) s;
  return query
    with due as (
      select l.saga_id
      from unnest(p_definitions, p_versions, p_limits) as d (definition, version, places)
      cross join lateral (
        select c.saga_id from saga_live c
        where c.definition = d.definition and c.version = d.version
          and c.process is null and c.wake_at <= v_now
        order by c.wake_at limit d.places
        for update skip locked
      ) l
    ), signalled as (
      select l.saga_id from saga_live l
      join unnest(p_definitions, p_versions, p_limits) as d (definition, version, places)
        on l.definition = d.definition and l.version = d.version and d.places > 0
      where l.saga_id = any (v_signalled) and l.process is null
      for update of l skip locked
    )
    update saga_live u set process = p_process, wake_at = null
    where u.saga_id = any (array(select saga_id from due union select saga_id from signalled))
    returning u.saga_id;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_command(p_id text, p_n integer, p_key text, p_body text, p_actor text, p_action text, p_subject text, p_reason text)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_waiting text;
begin
  -- Two operators at a time come one after the other, and nobody takes the saga over meanwhile.
  perform from saga_live where saga_id = p_id for no key update;
  if not found then
    return case when exists (select from saga_instance where saga_id = p_id) then 'ended' else 'unknown' end;
  end if;
  select dedup_key into v_waiting from saga_signal
  where saga_id = p_id and starts_with(dedup_key, 'command/') limit 1;
  if found then
    return case when v_waiting = p_key then 'repeated' else 'busy' end;
  end if;
  if p_n is not null and p_n <> (select coalesce(max(n), 0) from saga_journal where saga_id = p_id) then
    return 'moved';
  end if;
  insert into saga_signal (saga_id, dedup_key, body) values (p_id, p_key, p_body::json);
  insert into audit_entry (actor, action, subject, reason) values (p_actor, p_action, p_subject, p_reason);
  return 'taken';
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_fence(p_process integer, p_is_leaving boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  -- Exclusive: whoever checked the fence under the shared lock has committed before this goes on. Not waited for
  -- where it is another's: a frozen one may hold it for long, and the lease of whoever waits runs out meanwhile.
  if p_is_leaving then
    perform pg_advisory_xact_lock(saga_lock_namespace(), p_process);
  elsif not pg_try_advisory_xact_lock(saga_lock_namespace(), p_process) then
    return false;
  end if;
  update saga_process set fenced_at = clock_timestamp()
  where process = p_process and fenced_at is null
    and (p_is_leaving or lease_until <= clock_timestamp());
  return found;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_free(p_process integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_count integer;
begin
  perform from saga_process where process = p_process and fenced_at is not null for update skip locked;
  if not found then
    return 0;
  end if;
  update saga_live set process = null, wake_at = clock_timestamp() where process = p_process;
  get diagnostics v_count = row_count;
  delete from saga_process where process = p_process;
  return v_count;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_insert(p_process integer, p_batch bigint, p_starts text)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_given integer := json_array_length(p_starts::json);
  v_count integer;
  v_refused text[];
begin
  insert into saga_instance (saga_id, definition, version, business_key, input, traceparent, process, batch)
  select s.id, s.definition, s.version, s.key, s.input, s.trace, p_process, p_batch
  from json_to_recordset(p_starts::json) as s (
    id text, definition text, version smallint, key text, input json, trace text
  )
  on conflict do nothing;
  get diagnostics v_count = row_count;
  if v_count < v_given then
    select array_agg(g.id) into v_refused
    from json_to_recordset(p_starts::json) as g (id text)
    where not exists (
      select from saga_instance i
      where i.saga_id = g.id and i.process = p_process and i.batch = p_batch
    );
  end if;
  -- A batch that is written again may meet sagas that have ended since: those with a first entry are done.
  insert into saga_live (saga_id, definition, version, process, deadline_at)
  select s.id, s.definition, s.version, p_process, clock_timestamp() + s.deadline * interval '1 ms'
  from json_to_recordset(p_starts::json) as s (id text, definition text, version smallint, deadline bigint)
  where v_count = v_given or (
    (v_refused is null or s.id <> all (v_refused))
    and not exists (select from saga_journal j where j.saga_id = s.id and j.n = 1)
  );
  return v_refused;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_join(p_lease_ms integer)
 RETURNS integer
 LANGUAGE sql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
  insert into saga_process (lease_until)
  values (clock_timestamp() + p_lease_ms * interval '1 ms') returning process
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_list(p_definition text, p_status text, p_key text, p_before timestamp with time zone, p_before_id text, p_limit integer)
 RETURNS SETOF dure.saga_instance
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
declare
  v_to timestamptz := coalesce(p_before, 'infinity');
  v_from timestamptz := least(p_before, clock_timestamp());
  v_left integer := p_limit;
  v_count integer;
begin
  if p_key is not null then
    return query
      select i.* from saga_instance i
      where i.business_key = p_key and (p_definition is null or i.definition = p_definition)
        and (p_status is null or i.status = p_status)
        and (p_before is null or (i.started_at, i.saga_id) < (p_before, p_before_id))
      order by i.started_at desc, i.saga_id desc limit p_limit;
    return;
  elsif p_status in ('FAILED', 'COMPENSATION_FAILED') then
    return query
      select i.* from saga_parked p join saga_instance i on i.saga_id = p.saga_id
      where (p_definition is null or p.definition = p_definition) and p.status = p_status
        and (p_before is null or (p.started_at, p.saga_id) < (p_before, p_before_id))
      order by p.started_at desc, p.saga_id desc limit p_limit;
    return;
  elsif p_status in ('RUNNING', 'COMPENSATING') then
    return query
      select i.* from saga_live l join saga_instance i on i.saga_id = l.saga_id
      where (p_definition is null or l.definition = p_definition) and i.status = p_status
        and (p_before is null or (i.started_at, i.saga_id) < (p_before, p_before_id))
      order by i.started_at desc, i.saga_id desc limit p_limit;
    return;
  end if;
  for v_step in 0..10 loop
    v_from := case when v_step = 10 then '-infinity' else v_from - interval '1 s' * 8 ^ v_step end;
    return query
      select i.* from saga_instance i
      where i.started_at >= v_from and (case when v_step = 0 then i.started_at <= v_to else i.started_at < v_to end)
        and (p_definition is null or i.definition = p_definition)
        and (p_status is null or i.status = p_status)
        and (p_before is null or (i.started_at, i.saga_id) < (p_before, p_before_id))
      order by i.started_at desc, i.saga_id desc limit v_left;
    get diagnostics v_count = row_count;
    v_left := v_left - v_count;
    exit when v_left = 0;
    v_to := v_from;
  end loop;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_lock_namespace()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$ select 1685418593 $function$
;

CREATE OR REPLACE FUNCTION dure.saga_move(p_process integer, p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_refused text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_ids text[] := string_to_array(p_moved, chr(30));
  v_statuses text[] := string_to_array(p_statuses, chr(30));
  v_lives text[] := string_to_array(p_lives, chr(30));
  v_status text;
  v_ended text[];
begin
  if p_refused is not null then
    select array_agg(m.id), array_agg(m.status), array_agg(m.live), array_agg(m.wake)
    into v_ids, v_statuses, v_lives, p_wakes
    from unnest(v_ids, v_statuses, v_lives, p_wakes) as m (id, status, live, wake)
    where m.id <> all (p_refused);
  end if;
  -- Only while the saga is this process's, here and below. Looked up by lists, one for each way to end: joined with
  -- them, a table that is nearly empty, and was full a moment ago, may be read from end to end.
  foreach v_status in array array['COMPLETED', 'COMPENSATED'] loop
    continue when v_status <> all (v_statuses);
    v_ended := array(
      select m.id from unnest(v_ids, v_statuses, v_lives) as m (id, status, live)
      where m.live = 'end' and m.status = v_status
    );
    with gone as (
      delete from saga_live l where l.saga_id = any (v_ended) and l.process = p_process returning l.saga_id
    )
    update saga_instance i set status = v_status, ended_at = clock_timestamp()
    where i.saga_id = any (array(select saga_id from gone));
    -- In a statement after it: whoever sent one meanwhile has committed. Nobody would ever take it, and those
    -- that nobody takes are in the way of the others in saga_claim.
    delete from saga_signal s where s.saga_id = any (v_ended);
  end loop;
  if 'free' = any (v_lives) or 'keep' = any (v_lives) then
    update saga_instance i set status = m.status, ended_at = null
    from unnest(v_ids, v_statuses, v_lives) as m (id, status, live)
    join saga_live l on l.saga_id = m.id and l.process = p_process
    where i.saga_id = m.id and m.live <> 'end' and m.status <> '';
  end if;
  if 'free' = any (v_lives) then
    update saga_live l set
      process = null,
      wake_at = case when m.wake >= 0 then clock_timestamp() + m.wake * interval '1 ms' end
    from unnest(v_ids, v_lives, p_wakes) as m (id, live, wake)
    where l.saga_id = m.id and m.live = 'free' and l.process = p_process;
  end if;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_move_deadline(p_id text, p_deadline timestamp with time zone, p_actor text, p_reason text)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_live saga_live;
  v_status text;
begin
  select status into v_status from saga_instance where saga_id = p_id;
  if not found then
    return 'unknown';
  end if;
  -- Nobody takes it over, or lets go of it, meanwhile.
  select * into v_live from saga_live where saga_id = p_id for no key update;
  if not found then
    return 'ended';
  elsif v_live.process = flow_process() then
    return 'followed';
  elsif v_live.process is null and v_status in ('FAILED', 'COMPENSATION_FAILED') then
    return 'parked';
  elsif v_live.deadline_at is not distinct from p_deadline then
    return 'repeated';
  end if;
  update saga_live set deadline_at = p_deadline,
    wake_at = case when process is null then least(wake_at, p_deadline) end
  where saga_id = p_id;
  -- The row says it to whoever takes the saga over, the signal to whoever has read the row before. The last one counts.
  delete from saga_signal where saga_id = p_id and starts_with(dedup_key, 'deadline/');
  if v_live.process is not null then
    insert into saga_signal (saga_id, dedup_key, body) values (
      p_id, 'deadline/' || gen_random_uuid(),
      json_build_object('kind', 'deadline', 'at', (extract(epoch from p_deadline) * 1000)::bigint)
    );
  end if;
  insert into audit_entry (actor, action, subject, reason)
  values (
    p_actor, case when p_deadline is null then 'saga.cancel-deadline' else 'saga.move-deadline' end,
    'saga/' || p_id, p_reason
  );
  return 'moved';
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_record(p_process integer, p_batch bigint, p_starts text, p_ids text, p_ns integer[], p_events text, p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_signals bigint[])
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
begin
  perform pg_advisory_xact_lock_shared(saga_lock_namespace(), p_process);
  -- A statement of its own, with a snapshot from after the lock.
  perform from saga_process where process = p_process and fenced_at is null;
  if not found then
    raise exception 'dure: process % of the saga engine was fenced: its sagas belong to others', p_process
      using errcode = 'DU003';
  end if;
  -- All of it or nothing: what is caught has undone the whole block.
  begin
    if p_starts is not null then
      with s as materialized (
        select * from json_to_recordset(p_starts::json) as s (
          id text, definition text, version smallint, key text, input json, trace text, deadline bigint
        )
      ), started as (
        insert into saga_instance (saga_id, definition, version, business_key, input, traceparent, process, batch)
        select s.id, s.definition, s.version, s.key, s.input, s.trace, p_process, p_batch from s
      )
      insert into saga_live (saga_id, definition, version, process, deadline_at)
      select s.id, s.definition, s.version, p_process, clock_timestamp() + s.deadline * interval '1 ms' from s;
    end if;
    insert into saga_journal (saga_id, n, process, batch, events)
    select e.id, e.n, p_process, p_batch, e.events::json
    from unnest(
      string_to_array(p_ids, chr(30)), p_ns, string_to_array(p_events, chr(30))
    ) as e (id, n, events);
    if p_moved is not null then
      perform saga_move(p_process, p_moved, p_statuses, p_lives, p_wakes, null);
    end if;
    if p_signals is not null then
      delete from saga_signal where signal_id = any (p_signals);
    end if;
    return null;
  exception when unique_violation then
    null;
  end;
  return saga_record_again(
    p_process, p_batch, p_starts, p_ids, p_ns, p_events, p_moved, p_statuses, p_lives, p_wakes, p_signals
  );
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_record_again(p_process integer, p_batch bigint, p_starts text, p_ids text, p_ns integer[], p_events text, p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_signals bigint[])
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_ids text[] := string_to_array(p_ids, chr(30));
  v_count integer;
  v_refused text[];
begin
  if p_starts is not null then
    v_refused := saga_insert(p_process, p_batch, p_starts);
  end if;
  insert into saga_journal (saga_id, n, process, batch, events)
  select e.id, e.n, p_process, p_batch, e.events::json
  from unnest(v_ids, p_ns, string_to_array(p_events, chr(30))) as e (id, n, events)
  where v_refused is null or e.id <> all (v_refused)
  on conflict do nothing;
  get diagnostics v_count = row_count;
  if v_count < cardinality(v_ids) then
    select array_agg(e.id) filter (where j.saga_id is null) into v_refused
    from unnest(v_ids, p_ns) as e (id, n)
    left join saga_journal j
      on j.saga_id = e.id and j.n = e.n and j.process = p_process and j.batch = p_batch;
  end if;
  -- A batch commits as a whole. Where none of it is new it was done before, and its sagas have gone on since:
  -- moved again, one would be taken from whoever drives it now.
  if p_moved is not null and v_count > 0 then
    perform saga_move(p_process, p_moved, p_statuses, p_lives, p_wakes, v_refused);
  end if;
  -- Not those that a refused entry would have answered: whoever drives that saga answers them.
  if p_signals is not null and v_count > 0 then
    delete from saga_signal
    where signal_id = any (p_signals) and (v_refused is null or saga_id <> all (v_refused));
  end if;
  return v_refused;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_record_all(p_process integer, p_batch bigint, p_starts text, p_ids text, p_ns integer[], p_events text, p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_signals bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  if saga_record(
    p_process, p_batch, p_starts, p_ids, p_ns, p_events, p_moved, p_statuses, p_lives, p_wakes, p_signals
  ) is not null then
    raise exception 'dure: an entry of a batch is there already' using errcode = 'DU003';
  end if;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_record_local(p_process integer, p_batch bigint, p_starts text, p_id text, p_n integer, p_events text, p_moved text, p_status text, p_live text, p_wake bigint, p_signals bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
begin
  perform pg_advisory_xact_lock_shared(saga_lock_namespace(), p_process);
  -- A statement of its own, with a snapshot from after the lock.
  perform from saga_process where process = p_process and fenced_at is null;
  if not found then
    raise exception 'dure: process % of the saga engine was fenced: its sagas belong to others', p_process
      using errcode = 'DU003';
  end if;
  if p_starts is not null and saga_insert(p_process, p_batch, p_starts) is not null then
    raise exception 'dure: saga % was started before', p_id using errcode = 'DU003';
  end if;
  insert into saga_journal (saga_id, n, process, batch, events)
  values (p_id, p_n, p_process, p_batch, p_events::json)
  on conflict do nothing;
  if not found then
    raise exception 'dure: entry % of saga % is there already', p_n, p_id using errcode = 'DU003';
  end if;
  if p_moved is not null then
    perform saga_move(p_process, p_moved, p_status, p_live, array[p_wake], null);
  end if;
  if p_signals is not null then
    delete from saga_signal where signal_id = any (p_signals);
  end if;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_record_soon(p_process integer, p_batch bigint, p_starts text, p_ids text, p_ns integer[], p_events text, p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_signals bigint[])
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET lock_timeout TO '100ms'
AS $function$
begin
  return saga_record(
    p_process, p_batch, p_starts, p_ids, p_ns, p_events, p_moved, p_statuses, p_lives, p_wakes, p_signals
  );
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_redrive(p_id text, p_definition text, p_key text, p_status text, p_limit integer, p_actor text, p_reason text)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_saga record;
  v_count integer := 0;
begin
  for v_saga in
    select p.saga_id, (select coalesce(max(n), 0) from saga_journal j where j.saga_id = p.saga_id) as n
    from saga_parked p
    where (p_id is null or p.saga_id = p_id) and (p_definition is null or p.definition = p_definition)
      and (p_key is null or coalesce(p.business_key, p.saga_id) = p_key) and (p_status is null or p.status = p_status)
    order by p.started_at, p.saga_id limit p_limit
  loop
    if saga_command(
      v_saga.saga_id, v_saga.n, 'command/' || v_saga.n || '/retry',
      json_build_object('kind', 'command', 'command', 'retry', 'actor', p_actor, 'why', coalesce(p_reason, ''))::text,
      p_actor, 'saga.retry', 'saga/' || v_saga.saga_id, p_reason
    ) = 'taken' then
      v_count := v_count + 1;
    end if;
  end loop;
  return v_count;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_retire(p_older_ms bigint, p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  -- Read once: what is volatile is no condition for an index.
  v_before constant timestamptz := clock_timestamp() - p_older_ms * interval '1 ms';
  v_ids text[];
begin
  v_ids := array(
    select saga_id from saga_instance
    where started_at < v_before and ended_at < v_before
    limit p_limit
    for update skip locked
  );
  delete from saga_journal where saga_id = any (v_ids);
  delete from saga_signal where saga_id = any (v_ids);
  delete from saga_instance where saga_id = any (v_ids);
  return cardinality(v_ids);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_signal_send(p_id text, p_dedup_key text, p_body text)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  -- Held until the commit: the saga cannot end in between.
  perform from saga_live where saga_id = p_id and process is distinct from flow_process() for key share;
  if not found then
    return false;
  end if;
  insert into saga_signal (saga_id, dedup_key, body) values (p_id, p_dedup_key, p_body::json)
  on conflict do nothing;
  return true;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.saga_start(p_id text, p_definition text, p_version integer, p_key text, p_input text, p_trace text, p_deadline_ms bigint)
 RETURNS TABLE(definition text, version smallint, input text)
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  insert into saga_instance (saga_id, definition, version, business_key, input, traceparent)
  values (p_id, p_definition, p_version, p_key, p_input::json, p_trace)
  on conflict do nothing;
  if found then
    insert into saga_live (saga_id, definition, version, wake_at, deadline_at)
    values (
      p_id, p_definition, p_version, clock_timestamp(), clock_timestamp() + p_deadline_ms * interval '1 ms'
    );
    return;
  end if;
  return query
    select i.definition, i.version, i.input::text from saga_instance i where i.saga_id = p_id;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semantic_lock_acquire(p_resource text, p_owner text, p_lease_ms bigint, p_wait_ms integer, p_is_in_transaction boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET lock_timeout TO '0'
AS $function$
declare
  v_lock semantic_lock;
  v_expired semantic_lock;
  v_now timestamptz;
begin
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return null;
  end if;
  -- 0 would be without limit.
  perform set_config('lock_timeout', greatest(p_wait_ms, 1)::text, true);
  begin
    select * into v_lock from semantic_lock l where l.resource = p_resource for update;
    if not found then
      insert into semantic_lock (resource, state, token) values (p_resource, 'AVAILABLE', 0)
      on conflict do nothing;
      -- A rival may have been first: this statement sees what he has committed.
      select * into strict v_lock from semantic_lock l where l.resource = p_resource for update;
    end if;
  exception when lock_not_available then
    return jsonb_build_object('kind', 'busy');
  end;
  v_now := clock_timestamp();
  if v_lock.owner is not null and coalesce(v_lock.expires_at > v_now, true) then
    return jsonb_build_object(
      'kind', case when v_lock.owner = p_owner then 'already-yours' else 'held-by-another' end,
      'lock', semantic_lock_json(v_lock)
    );
  end if;
  v_expired := v_lock;
  update semantic_lock l set
    state = 'RESERVING', owner = p_owner, token = l.token + 1, acquired_at = v_now,
    expires_at = v_now + p_lease_ms * interval '1 ms'
  where l.resource = p_resource
  returning * into v_lock;
  return jsonb_build_object(
    'kind', 'acquired', 'lock', semantic_lock_json(v_lock),
    -- The sweeper will not find it any more, so its owner must be told by whoever took it.
    'takenOver', case when v_expired.owner is not null then semantic_lock_json(v_expired) end
  );
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semantic_lock_change(p_action text, p_resource text, p_owner text, p_token bigint, p_lease_ms bigint, p_wait_ms integer, p_is_in_transaction boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
 SET lock_timeout TO '0'
AS $function$
declare
  v_lock semantic_lock;
  v_now timestamptz;
begin
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return null;
  end if;
  perform set_config('lock_timeout', greatest(p_wait_ms, 1)::text, true);
  begin
    select * into v_lock from semantic_lock l where l.resource = p_resource for update;
  exception when lock_not_available then
    return jsonb_build_object('kind', 'busy');
  end;
  v_now := clock_timestamp();
  if v_lock.owner is null then
    return jsonb_build_object('kind', 'not-held');
  elsif v_lock.owner <> p_owner then
    return jsonb_build_object('kind', 'held-by-another', 'lock', semantic_lock_json(v_lock));
  -- The same saga took it again after its time was over: this is an older part of it that has slept.
  elsif v_lock.token <> p_token then
    return jsonb_build_object('kind', 'superseded', 'lock', semantic_lock_json(v_lock));
  elsif v_lock.expires_at <= v_now and p_action <> 'release' then
    return jsonb_build_object('kind', 'expired', 'lock', semantic_lock_json(v_lock));
  end if;
  if p_action = 'confirm' then
    update semantic_lock l set state = 'RESERVED', expires_at = v_now + p_lease_ms * interval '1 ms'
    where l.resource = p_resource returning * into v_lock;
  elsif p_action = 'renew' then
    -- Never shorter, and what has no end keeps none.
    update semantic_lock l
    set expires_at = case when l.expires_at is not null
      then greatest(l.expires_at, v_now + p_lease_ms * interval '1 ms') end
    where l.resource = p_resource returning * into v_lock;
  elsif p_action = 'release' then
    update semantic_lock l
    set state = 'AVAILABLE', owner = null, acquired_at = null, expires_at = null
    where l.resource = p_resource;
  end if;
  return jsonb_build_object('kind', 'done', 'lock', semantic_lock_json(v_lock));
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semantic_lock_json(p_lock dure.semantic_lock)
 RETURNS jsonb
 LANGUAGE sql
AS $function$
  select jsonb_build_object(
    'resource', p_lock.resource, 'state', p_lock.state, 'owner', p_lock.owner, 'token', p_lock.token,
    'acquiredAt', to_char(p_lock.acquired_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'expiresAt', to_char(p_lock.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'remainingMs', floor(extract(epoch from p_lock.expires_at - clock_timestamp()) * 1000)
  )
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_acquire(p_name text, p_member bigint, p_key text, p_may_wait boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_semaphore semaphore;
  v_held integer;
  v_waiting integer;
  v_woken bigint[] := '{}';
  v_kind text;
begin
  select * into v_semaphore from semaphore s where s.name = p_name for update;
  if not found then
    return jsonb_build_object('kind', 'undeclared', 'waiting', 0, 'woken', v_woken);
  end if;
  perform from semaphore_member m
  where m.member = p_member and m.fenced_at is null and m.lease_until > clock_timestamp();
  if not found then
    return jsonb_build_object('kind', 'fenced', 'waiting', 0, 'woken', v_woken);
  end if;
  select count(p.granted_at), count(*) - count(p.granted_at) into v_held, v_waiting
  from semaphore_place p where p.semaphore = p_name;
  if v_waiting > 0 or v_held >= v_semaphore.permits then
    -- Before anyone is sent away or made to wait: the dead go.
    perform semaphore_fence();
    v_woken := semaphore_advance(p_name);
    select count(p.granted_at), count(*) - count(p.granted_at) into v_held, v_waiting
    from semaphore_place p where p.semaphore = p_name;
  end if;
  v_kind := case
    when v_waiting = 0 and v_held < v_semaphore.permits then 'held'
    when not p_may_wait then 'busy'
    when v_waiting >= v_semaphore.line_max then 'full'
    else 'waiting'
  end;
  if v_kind in ('held', 'waiting') then
    insert into semaphore_place (semaphore, member, key, granted_at)
    values (p_name, p_member, p_key, case when v_kind = 'held' then clock_timestamp() end);
  end if;
  return jsonb_build_object('kind', v_kind, 'waiting', v_waiting, 'woken', v_woken);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_advance(p_name text)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_free integer;
  v_woken bigint[];
begin
  delete from semaphore_place p
  where p.semaphore = p_name and not exists (
    select from semaphore_member m where m.member = p.member and m.fenced_at is null
  );
  select s.permits - (
    select count(*) from semaphore_place p where p.semaphore = p_name and p.granted_at is not null
  ) into v_free
  from semaphore s where s.name = p_name;
  if coalesce(v_free, 0) <= 0 then
    return '{}';
  end if;
  with granted as (
    update semaphore_place set granted_at = clock_timestamp() where place in (
      select place from semaphore_place
      where semaphore = p_name and granted_at is null order by place limit v_free
    )
    returning member
  )
  select array_agg(distinct member) into v_woken from granted;
  return coalesce(v_woken, '{}');
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_beat(p_member bigint, p_lease_ms integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  update semaphore_member set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
  where member = p_member and fenced_at is null;
  return found;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_declare(p_name text, p_permits integer, p_line_max integer)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  insert into semaphore as s (name, permits, line_max, declared_permits, declared_line_max)
  values (p_name, p_permits, p_line_max, p_permits, p_line_max)
  on conflict (name) do update set
    permits = case when s.is_set then s.permits else excluded.permits end,
    line_max = case when s.is_set then s.line_max else excluded.line_max end,
    declared_permits = excluded.declared_permits,
    declared_line_max = excluded.declared_line_max;
  return semaphore_advance(p_name);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_fence()
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
  update semaphore_member set fenced_at = clock_timestamp() where member in (
    select member from semaphore_member
    where fenced_at is null and lease_until <= clock_timestamp()
    order by member for no key update skip locked
  )
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_join(p_process text, p_lease_ms integer)
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
  insert into semaphore_member (process, lease_until)
  values (p_process, clock_timestamp() + p_lease_ms * interval '1 ms') returning member
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_leave(p_member bigint)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  update semaphore_member set fenced_at = clock_timestamp() where member = p_member and fenced_at is null;
  return semaphore_sweep();
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_look(p_member bigint)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_woken bigint[] := semaphore_sweep();
begin
  return jsonb_build_object('woken', v_woken, 'places', (
    select coalesce(jsonb_agg(jsonb_build_object('name', p.semaphore, 'key', p.key, 'isHeld', p.granted_at is not null)), '[]')
    from semaphore_place p
    join semaphore_member m on m.member = p.member and m.fenced_at is null
    where p.member = p_member
  ));
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_release(p_name text, p_member bigint, p_key text, p_only_waiting boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_is_held boolean;
begin
  perform from semaphore where name = p_name for update;
  if p_only_waiting then
    select p.granted_at is not null into v_is_held
    from semaphore_place p where p.member = p_member and p.key = p_key;
    if v_is_held then
      return jsonb_build_object('isGone', false, 'woken', '[]'::jsonb);
    end if;
  end if;
  delete from semaphore_place where member = p_member and key = p_key;
  return jsonb_build_object('isGone', true, 'woken', semaphore_advance(p_name));
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_set(p_name text, p_permits integer, p_line_max integer, p_actor text, p_reason text)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
begin
  update semaphore s set
    is_set = p_permits is not null or p_line_max is not null,
    permits = case when p_permits is null and p_line_max is null then s.declared_permits
      else coalesce(p_permits, s.permits) end,
    line_max = case when p_permits is null and p_line_max is null then s.declared_line_max
      else coalesce(p_line_max, s.line_max) end
  where s.name = p_name;
  if not found then
    return null;
  end if;
  insert into audit_entry (actor, action, subject, reason)
  select p_actor, 'semaphore.' || case when s.is_set then 'set' else 'reset' end,
    format('semaphore/%s permits=%s lineMax=%s', s.name, s.permits, s.line_max), p_reason
  from semaphore s where s.name = p_name;
  return semaphore_advance(p_name);
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_sweep()
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_name text;
  v_woken bigint[] := '{}';
begin
  perform semaphore_fence();
  for v_name in
    select distinct p.semaphore from semaphore_place p
    where not exists (
      select from semaphore_member m where m.member = p.member and m.fenced_at is null
    )
    order by p.semaphore
  loop
    perform from semaphore where name = v_name for update;
    v_woken := v_woken || semaphore_advance(v_name);
  end loop;
  delete from semaphore_member where member in (
    select m.member from semaphore_member m
    where m.fenced_at is not null
      and not exists (select from semaphore_place p where p.member = m.member)
    for update skip locked
  );
  return v_woken;
end
$function$
;

CREATE OR REPLACE FUNCTION dure.semaphore_take_away(p_place bigint, p_actor text, p_reason text)
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'dure', 'pg_temp'
AS $function$
declare
  v_name text;
  v_member bigint;
begin
  select p.semaphore into v_name from semaphore_place p where p.place = p_place;
  perform from semaphore where name = v_name for update;
  delete from semaphore_place p where p.place = p_place returning p.member into v_member;
  if v_member is null then
    return null;
  end if;
  insert into audit_entry (actor, action, subject, reason)
  values (p_actor, 'semaphore.release', format('semaphore/%s place %s', v_name, p_place), p_reason);
  return semaphore_advance(v_name) || v_member;
end
$function$
;
