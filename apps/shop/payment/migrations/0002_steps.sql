-- Payments that an orchestrator drives step by step, and refunds of any paid order. `payments` keeps
-- where an order's money stands; what is asked of the provider for a step is a row of its own.

alter table payments
  -- Who drives it: events (one charge), or steps in one phase (charge) or two (authorize, capture).
  add column flow text not null default 'choreographed'
    check (flow in ('choreographed', 'one-phase', 'two-phase')),
  -- What the provider has acknowledged to steps. A choreographed charge is known by its status.
  add column authorized_amount bigint not null default 0 check (authorized_amount >= 0),
  add column captured_amount bigint not null default 0 check (captured_amount >= 0),
  add column charged_amount bigint not null default 0 check (charged_amount >= 0),
  add column voided_amount bigint not null default 0 check (voided_amount >= 0),
  -- Refunds that were begun, so that all of them together never exceed what was paid.
  add column refund_claimed bigint not null default 0,
  -- What a refund names at the provider when the money was captured; else it is the charge.
  add column capture_key text,
  add constraint payments_refund_claimed_check check (refund_claimed between 0 and amount),
  alter column refund_key drop not null,
  drop constraint payments_status_check,
  add constraint payments_status_check check (status in ('PROCESSING', 'AUTHORIZED', 'COMPLETED',
    'FAILED', 'VOIDING', 'VOIDED', 'REFUNDING', 'REFUNDED')),
  drop constraint payments_check,
  drop constraint payments_check1,
  drop constraint payments_check2,
  drop constraint payments_check3,
  add constraint payments_processing_check check (flow <> 'choreographed'
    or (status = 'PROCESSING') = (pending_operation is not null and pending_operation in ('charge', 'cancel'))),
  add constraint payments_refunding_check check (flow <> 'choreographed'
    or (status = 'REFUNDING') = (pending_operation is not null and pending_operation = 'refund')),
  add constraint payments_card_token_check check (
    (card_token is not null) = (pending_operation is not null and pending_operation = 'charge')),
  add constraint payments_reason_check check (flow <> 'choreographed'
    or reason is not null or status = 'COMPLETED' or pending_operation = 'charge'),
  -- The worker of the choreographed checkout must not find a step's payment.
  add constraint payments_pending_check check (flow = 'choreographed' or pending_operation is null);

-- What is asked of the provider for a step, under the step's own key. Committed before it is asked.
create table payment_operation (
  key text primary key,
  kind text not null check (kind in ('authorize', 'capture', 'void', 'charge', 'refund')),
  order_id text collate "C" not null,
  saga_id text not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  -- The authorization of a capture, or what a void or refund undoes.
  forward_key text,
  -- It undoes a step, and so must be answered in the end.
  is_compensation boolean not null,
  -- A secret: kept only while the card may still be asked.
  card_token text,
  -- COMPENSATED: undone, or refused in advance; it keeps no money.
  state text not null default 'PENDING'
    check (state in ('PENDING', 'APPROVED', 'DECLINED', 'COMPENSATED')),
  reason text,
  moved_amount bigint check (moved_amount >= 0),
  provider_tx_id text,
  fencing_token text,
  request_id text not null,
  traceparent text,
  attempts integer not null default 0,
  -- When the service asks by itself: the request that began it has time until then.
  next_attempt_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check ((card_token is not null) = (state = 'PENDING' and kind in ('authorize', 'charge'))),
  check ((state = 'APPROVED') = (moved_amount is not null)),
  check (state <> 'DECLINED' or reason is not null)
);

comment on table payment_operation is 'One row per payment step: what is asked of the provider, and its answer';
comment on column payment_operation.card_token is 'Null as soon as the card will not be asked any more';

create index payment_operation_due on payment_operation (next_attempt_at) where state = 'PENDING';
comment on index payment_operation_due is 'payment:step.claim';

create index payment_operation_forward on payment_operation (forward_key) where forward_key is not null;
comment on index payment_operation_forward is 'payment:step.captures: what refers to an authorization';

alter table payment_history
  -- It was done for a step that came over HTTP.
  add column is_step boolean not null default false;
