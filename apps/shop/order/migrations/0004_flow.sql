-- The choreographed checkout is tracked by the library, as a saga instance. What the order itself has heard of it stays:
-- its status follows from that.

alter table order_saga_events drop constraint order_saga_events_saga_id_fkey;
alter table order_saga_events add constraint order_saga_events_saga_id_fkey
  foreign key (saga_id) references orders (saga_id);
drop table order_sagas;

-- A saga that never began says so itself.
drop index orders_unbegun;
