-- Checkpoints of the state, and how far the log has been archived. A program of schema 1 reads and writes on: it knows
-- neither, and never archives.
-- compatible: 1
create table SCHEMA.checkpoints (
  seq bigint primary key,
  event_hash text not null,
  at_ms bigint not null,
  state text not null,
  mac text not null
);
alter table SCHEMA.log_head
  add column archived_seq bigint not null default 0,
  add column archived_mac text not null default '';
create index appends_by_age on SCHEMA.appends (at_ms);
