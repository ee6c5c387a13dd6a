-- The log, the read model that moves with it, what idempotency ids have done, and leases.
-- compatible: 1
create table SCHEMA.log_head (
  id int primary key check (id = 1),
  log_id text not null,
  seq bigint not null,
  hash text not null,
  at_ms bigint not null
);
create table SCHEMA.events (
  seq bigint primary key,
  at_ms bigint not null,
  kind text not null,
  resource_kind text not null,
  resource_name text not null,
  prev_hash text not null,
  hash text not null,
  body text not null
);
create index events_by_resource on SCHEMA.events (resource_kind, resource_name, seq);
create table SCHEMA.entries (
  area text collate "C" not null,
  kind text collate "C" not null,
  name text collate "C" not null,
  version bigint not null,
  body text not null,
  primary key (area, kind, name)
);
create table SCHEMA.appends (
  id text primary key,
  first_seq bigint not null,
  last_seq bigint not null,
  hash text not null,
  digest text not null,
  at_ms bigint not null
);
create table SCHEMA.leases (
  name text primary key,
  holder text not null,
  epoch bigint not null,
  ends_at timestamptz not null
);
