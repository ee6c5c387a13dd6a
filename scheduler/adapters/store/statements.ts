/**
 * Every statement of the store, in one place and one dialect. Each is a transaction of its own; those that change more
 * than one table do it in one statement. Lists go in as JSON, so that a statement has the same text whatever their length.
 */

export interface Statements {
  readonly createHead: string;
  readonly head: string;
  readonly facts: string;
  readonly append: string;
  readonly read: string;
  readonly readLast: string;
  readonly get: string;
  readonly list: string;
  readonly acquire: string;
  readonly renew: string;
  readonly release: string;
  readonly look: string;
  readonly putCheckpoint: string;
  readonly checkpointBefore: string;
  readonly archive: string;
  readonly counts: string;
  readonly allEntries: string;
}

const NOW_MS = '(extract(epoch from clock_timestamp()) * 1000)::bigint';
const MAX_PAGE_BYTES = 32 * 1024 * 1024;
const ROW = 'seq, at_ms, kind, resource_kind, resource_name, prev_hash, hash, body';

/** Name of a schema: it goes into the text of statements. */
export const SCHEMA_NAME = /^[a-z][a-z0-9_]{0,62}$/;

const LEFT_MS = '(extract(epoch from ends_at - clock_timestamp()) * 1000)::bigint as left_ms';

/** `$1` milliseconds from now by the store's clock. */
const inMs = (param: string): string => `clock_timestamp() + ${param}::bigint * interval '1 millisecond'`;

function logStatements(s: string) {
  return {
    createHead: `insert into ${s}.log_head (id, log_id, seq, hash, at_ms) values (1, $1, 0, $2, 0) on conflict do nothing`,
    head: `select log_id, seq, hash, at_ms, archived_seq, archived_mac, ${NOW_MS} as now_ms from ${s}.log_head where id = 1`,
    // $1 idempotency id, $2 [{area, kind, name}], $3 lease of the fence, $4 a seq of which the hash is asked
    facts: `select h.log_id, h.seq, h.hash, h.at_ms, h.archived_seq, h.archived_mac, ${NOW_MS} as now_ms,
  a.first_seq as done_first, a.last_seq as done_last, a.hash as done_hash, a.digest as done_digest,
  (select epoch from ${s}.leases l where l.name = $3) as epoch,
  (select e.hash from ${s}.events e where e.seq = $4::bigint) as known_hash,
  (select json_agg(json_build_array(e.area, e.kind, e.name, e.version, e.body)) from ${s}.entries e
    join jsonb_to_recordset($2::jsonb) as k(area text, kind text, name text)
    on e.area = k.area and e.kind = k.kind and e.name = k.name) as entries
from ${s}.log_head h left join ${s}.appends a on a.id = $1 where h.id = 1`,
    // $1 seq and $2 hash of the end it was planned for, $3 $4 $5 the new end, $6 rows, $7 puts, $8 removes,
    // $9 idempotency id, $10 digest, $11 lease and $12 epoch of the fence ('' and 0 for none)
    append: `with held as materialized (
  select count(*) as n from (select 1 from ${s}.leases where name = $11 and epoch = $12::bigint for share) as l
), moved as (
  update ${s}.log_head as h set seq = $3::bigint, hash = $4, at_ms = $5::bigint from held
  where h.id = 1 and h.seq = $1::bigint and h.hash = $2 and ($11 = '' or held.n > 0) returning 1
), written as (
  insert into ${s}.events (${ROW})
  select r.seq, r."atMs", r.kind, r."resourceKind", r."resourceName", r."prevHash", r.hash, r.body
  from moved, jsonb_to_recordset($6::jsonb) as r(seq bigint, "atMs" bigint, kind text, "resourceKind" text,
    "resourceName" text, "prevHash" text, hash text, body text)
  returning 1
), put as (
  insert into ${s}.entries (area, kind, name, version, body)
  select r.area, r.kind, r.name, r.version, r.body
  from moved, jsonb_to_recordset($7::jsonb) as r(area text, kind text, name text, version bigint, body text)
  on conflict (area, kind, name) do update set version = excluded.version, body = excluded.body returning 1
), removed as (
  delete from ${s}.entries e using moved, jsonb_to_recordset($8::jsonb) as r(area text, kind text, name text)
  where e.area = r.area and e.kind = r.kind and e.name = r.name returning 1
), noted as (
  insert into ${s}.appends (id, first_seq, last_seq, hash, digest, at_ms)
  select $9, $1::bigint + 1, $3::bigint, $4, $10, $5::bigint from moved returning 1
)
select (select count(*) from moved) as moved, (select n from held) as held, (select count(*) from written) as written`,
    // A page ends after $2 rows, or behind the row with which its bodies pass the limit of bytes.
    read: `select ${ROW} from (
  select ${ROW}, sum(octet_length(body)) over (order by seq) - octet_length(body) as bytes_before from (
    select ${ROW} from ${s}.events where seq > $1::bigint order by seq limit $2::int) as page) as counted
where bytes_before < ${MAX_PAGE_BYTES} order by seq`,
    readLast: `select ${ROW} from ${s}.events order by seq desc limit 1`,
    counts: `select (select count(*) from ${s}.events) as events, (select count(*) from ${s}.entries) as entries`,
  };
}

function leaseStatements(s: string) {
  return {
    // $1 name, $2 holder, $3 ttl, $4 the new epoch is above this
    acquire: `insert into ${s}.leases as l (name, holder, epoch, ends_at)
values ($1, $2, greatest($4::bigint + 1, 1), ${inMs('$3')})
on conflict (name) do update set holder = excluded.holder, ends_at = ${inMs('$3')},
  epoch = case when l.holder = excluded.holder and l.ends_at > clock_timestamp() and l.epoch > $4::bigint
    then l.epoch else greatest(l.epoch, $4::bigint) + 1 end
where l.holder = excluded.holder or l.ends_at <= clock_timestamp()
returning name, holder, epoch, ${LEFT_MS}`,
    renew: `update ${s}.leases set ends_at = ${inMs('$4')}
where name = $1 and holder = $2 and epoch = $3::bigint returning name, holder, epoch, ${LEFT_MS}`,
    release: `update ${s}.leases set ends_at = least(ends_at, clock_timestamp())
where name = $1 and holder = $2 and epoch = $3::bigint returning name, holder, epoch, ${LEFT_MS}`,
    look: `select name, holder, epoch, ${LEFT_MS} from ${s}.leases where name = $1`,
  };
}

/** @param s the schema's name, of which SCHEMA_NAME holds */
export function statements(s: string): Statements {
  return {
    ...logStatements(s),
    ...leaseStatements(s),
    get: `select area, kind, name, version, body from ${s}.entries where area = $1 and kind = $2 and name = $3`,
    list: `select area, kind, name, version, body from ${s}.entries
where area = $1 and (kind, name) > ($2 collate "C", $3 collate "C") order by kind, name limit $4::int`,
    allEntries: `select area, kind, name, version, body from ${s}.entries
where (area, kind, name) > ($1 collate "C", $2 collate "C", $3 collate "C") order by area, kind, name limit $4::int`,
    putCheckpoint: `insert into ${s}.checkpoints (seq, event_hash, at_ms, state, mac)
values ($1::bigint, $2, $3::bigint, $4, $5) on conflict do nothing`,
    checkpointBefore: `select seq, event_hash, at_ms, state, mac from ${s}.checkpoints
where seq <= $1::bigint and at_ms <= $2::bigint order by seq desc limit 1`,
    // $1 the last event that goes, $2 how far the log was archived before, $3 appends older than this are forgotten,
    // $4 the seal of $1
    archive: `with moved as (
  update ${s}.log_head set archived_seq = $1::bigint, archived_mac = $4 where id = 1 and archived_seq = $2::bigint returning 1
), gone as (
  delete from ${s}.events using moved where seq <= $1::bigint returning 1
), forgotten as (
  delete from ${s}.appends using moved where at_ms < $3::bigint returning 1
), old as (
  delete from ${s}.checkpoints using moved where seq < $1::bigint returning 1
)
select (select count(*) from moved) as moved, (select count(*) from gone) as events`,
  };
}
