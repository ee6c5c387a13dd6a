/**
 * Sums of usage in memory. Adding to them is all that a request pays for being accounted. When there are as many sums as
 * there may be, what has no sum yet goes to one row for all others of its hour: detail is lost then, totals are not.
 */
import {
  COUNT_FIELDS,
  KEY_FIELDS,
  MAX_USAGE_ROWS,
  OTHER,
  USAGE_BY,
  type UsageBy,
  type UsageCounts,
  type UsageKey,
  type UsageRow,
  type UsageSpan,
} from './contract.ts';

type Sums = { -readonly [Field in keyof UsageCounts]: number };
type SumRow = UsageKey & Sums;

export interface UsageTally {
  /** @returns false when there was no room for a sum of its own */
  add(key: UsageKey, counts: UsageCounts): boolean;
  readonly size: number;
  /** Those that say anything: a sum of nothing is left out. */
  rows(): UsageRow[];
  clear(): void;
}

const MAX_TEXT = 256;
// Neither has a place in a text column of PostgreSQL.
const UNSTORABLE = /\0|\p{Surrogate}/gu;

/** A name as a table takes it. */
export const storable = (text: string): string => text.slice(0, MAX_TEXT).replaceAll(UNSTORABLE, '\ufffd');

const idOf = ({ periodMs, tenant, key, model, outcome, servedBy }: UsageKey): string =>
  `${periodMs}\n${tenant}\n${key}\n${model}\n${outcome}\n${servedBy}`;

const otherOf = (periodMs: number): UsageKey => ({
  periodMs,
  tenant: OTHER,
  key: OTHER,
  model: OTHER,
  outcome: OTHER,
  servedBy: OTHER,
});

function addTo(row: Sums, counts: UsageCounts): void {
  for (const field of COUNT_FIELDS) row[field] += counts[field];
}

function newSum({ periodMs, ...names }: UsageKey): SumRow {
  const { tenant, key, model, outcome, servedBy } = names;
  return {
    periodMs,
    tenant: storable(tenant),
    key: storable(key),
    model: storable(model),
    outcome,
    servedBy,
    requests: 0,
    untold: 0,
    promptTokens: 0,
    cachedTokens: 0,
    completionTokens: 0,
  };
}

/** @param maxRows sums at a time; the row of all others comes on top, one an hour */
export function createUsageTally(maxRows: number): UsageTally {
  const sums = new Map<string, SumRow>();
  const sumOf = (key: UsageKey, id: string): SumRow => {
    const sum = newSum(key);
    sums.set(id, sum);
    return sum;
  };
  return {
    add(key, counts) {
      const id = idOf(key);
      const known = sums.get(id);
      if (known !== undefined || sums.size < maxRows) {
        addTo(known ?? sumOf(key, id), counts);
        return true;
      }
      const other = otherOf(key.periodMs);
      const otherId = idOf(other);
      addTo(sums.get(otherId) ?? sumOf(other, otherId), counts);
      return false;
    },
    get size() {
      return sums.size;
    },
    rows: () => [...sums.values()].filter((row) => COUNT_FIELDS.some((field) => row[field] !== 0)),
    clear: () => sums.clear(),
  };
}

/** Rows of the same key as one. */
export function mergeRows(rows: Iterable<UsageRow>): UsageRow[] {
  const tally = createUsageTally(Infinity);
  for (const row of rows) tally.add(row, row);
  return tally.rows();
}

/** By the first field of their keys that differs. */
function compare(left: UsageRow, right: UsageRow): number {
  const field = KEY_FIELDS.find((each) => left[each] !== right[each]) ?? 'periodMs';
  return left[field] < right[field] ? -1 : 1;
}

/** What a table of these rows would answer: see UsageTable.list. */
export function sumRows(rows: Iterable<UsageRow>, span: UsageSpan, by: UsageBy): UsageRow[] {
  const shown: readonly string[] = USAGE_BY[by];
  const tally = createUsageTally(Infinity);
  for (const row of rows) {
    if (row.periodMs < span.sinceMs || row.periodMs >= span.untilMs) continue;
    const names = Object.fromEntries(
      KEY_FIELDS.map((field) => [field, shown.includes(field) ? row[field] : field === 'periodMs' ? 0 : '']),
    );
    tally.add(names as unknown as UsageKey, row);
  }
  return tally
    .rows()
    .sort(compare)
    .slice(0, MAX_USAGE_ROWS + 1);
}
