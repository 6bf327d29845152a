-- Requests with keys are kept by the library, in dure.idempotency_record.

drop table answered_requests;
alter table orders drop column request_fingerprint;
