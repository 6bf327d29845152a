-- Deliveries that an orchestrator starts, and stops when a completed order is canceled.

alter table deliveries
  -- Its orchestrator hears the carrier's answer by HTTP, so no event tells of it.
  add column is_orchestrated boolean not null default false,
  add column fencing_token text,
  -- When the carrier decided.
  add column decided_at timestamptz,
  add column stopped_at timestamptz,
  -- The saga that stopped it, and the key of its step.
  add column stop_saga_id text,
  add column stop_key text;
