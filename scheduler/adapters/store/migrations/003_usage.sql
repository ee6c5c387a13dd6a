-- What was used, in sums per hour, and how far the spools of schedulers have been taken in. A program of schema 1 or 2
-- knows neither table and loses nothing: it has no usage to settle.
-- compatible: 1
create table SCHEMA.usage (
  period_ms bigint not null,
  tenant text collate "C" not null,
  key_id text collate "C" not null,
  model text collate "C" not null,
  outcome text collate "C" not null,
  served_by text collate "C" not null,
  requests bigint not null,
  untold bigint not null,
  prompt_tokens bigint not null,
  cached_tokens bigint not null,
  completion_tokens bigint not null,
  primary key (period_ms, tenant, key_id, model, outcome, served_by)
);
create table SCHEMA.usage_spools (
  spool text primary key,
  settled bigint not null,
  at_ms bigint not null
);
