/**
 * The table of usage in the store's database. A batch and the place of its spool are written by one statement, so that a
 * batch counts once however often it is sent; rows go in by the order of their keys, so that two schedulers that settle
 * side by side wait for each other instead of locking each other up.
 */
import {
  COUNT_FIELDS,
  KEY_FIELDS,
  MAX_USAGE_ROWS,
  USAGE_BY,
  type UsageRow,
  type UsageTable,
} from '../../core/usage/contract.ts';
import type { SqlDriver, SqlRow } from './sql_driver.ts';
import { SCHEMA_NAME } from './statements.ts';

/** Columns of the fields of a row. */
const COLUMNS: Readonly<Record<keyof UsageRow, string>> = {
  periodMs: 'period_ms',
  tenant: 'tenant',
  key: 'key_id',
  model: 'model',
  outcome: 'outcome',
  servedBy: 'served_by',
  requests: 'requests',
  untold: 'untold',
  promptTokens: 'prompt_tokens',
  cachedTokens: 'cached_tokens',
  completionTokens: 'completion_tokens',
};
const TEXTS: ReadonlySet<string> = new Set(['tenant', 'key', 'model', 'outcome', 'servedBy']);
const NOW_MS = '(extract(epoch from clock_timestamp()) * 1000)::bigint';

const FIELDS = [...KEY_FIELDS, ...COUNT_FIELDS];
const named = (fields: readonly (keyof UsageRow)[]): string => fields.map((field) => COLUMNS[field]).join(', ');
const typed = FIELDS.map((field) => `${COLUMNS[field]} ${TEXTS.has(field) ? 'text collate "C"' : 'bigint'}`).join(', ');
const sums = COUNT_FIELDS.map((field) => `sum(${COLUMNS[field]}) as ${COLUMNS[field]}`).join(', ');
const added = COUNT_FIELDS.map((field) => `${COLUMNS[field]} = t.${COLUMNS[field]} + excluded.${COLUMNS[field]}`);

/** $1 spool, $2 number of the batch, $3 rows */
const settling = (s: string): string => `with claimed as (
  insert into ${s}.usage_spools as u (spool, settled, at_ms) values ($1, $2::bigint, ${NOW_MS})
  on conflict (spool) do update set settled = excluded.settled, at_ms = excluded.at_ms
  where u.settled < excluded.settled returning 1
), put as (
  insert into ${s}.usage as t (${named(FIELDS)})
  select ${FIELDS.map((field) => `r.${COLUMNS[field]}`).join(', ')}
  from claimed, jsonb_to_recordset($3::jsonb) as r(${typed})
  order by ${KEY_FIELDS.map((field) => `r.${COLUMNS[field]}`).join(', ')}
  on conflict (${named(KEY_FIELDS)}) do update set ${added.join(', ')} returning 1
)
select (select count(*) from claimed) as claimed, (select count(*) from put) as put`;

const param = (row: UsageRow): object => Object.fromEntries(FIELDS.map((field) => [COLUMNS[field], row[field]]));

const rowOf = (row: SqlRow): UsageRow =>
  Object.fromEntries(
    FIELDS.map((field) => {
      const value = row[COLUMNS[field]] ?? '';
      return [field, TEXTS.has(field) ? value : Number(value)];
    }),
  ) as unknown as UsageRow;

/**
 * @param driver of a store whose tables are up to date
 * @throws Error when the schema's name is none: it goes into the text of statements
 */
export function createUsageTable(driver: SqlDriver, schema = 'sophia'): UsageTable {
  if (!SCHEMA_NAME.test(schema)) throw new Error('This is no name of a schema.');
  // Each may be done twice: what counted before is not counted again.
  const ask = (sql: string, params: readonly string[]): Promise<readonly SqlRow[]> =>
    driver.query(sql, params, { repeatable: true });
  return {
    async probe() {
      await ask(`select 1 from ${schema}.usage_spools limit 1`, []);
    },
    async settle({ spool, number, rows }) {
      const [row] = await ask(settling(schema), [spool, String(number), JSON.stringify(rows.map(param))]);
      return row?.['claimed'] === '1';
    },
    async list({ sinceMs, untilMs }, by) {
      const shown = named(USAGE_BY[by]);
      const sql = `select ${shown}, ${sums} from ${schema}.usage where period_ms >= $1::bigint and period_ms < $2::bigint
group by ${shown} order by ${shown} limit ${MAX_USAGE_ROWS + 1}`;
      return (await ask(sql, [String(sinceMs), String(untilMs)])).map(rowOf);
    },
    async prune(beforeMs) {
      await ask(
        `with old as (delete from ${schema}.usage_spools where at_ms < $1::bigint returning 1)
delete from ${schema}.usage where period_ms < $1::bigint`,
        [String(beforeMs)],
      );
    },
  };
}
