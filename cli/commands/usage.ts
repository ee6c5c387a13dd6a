/** `sophia usage`: who has used what, in sums over whole hours. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { UsageRow__Output } from '../../proto/gen/admin/v1/UsageRow.ts';
import { type Cell, table } from '../output.ts';
import { withAdmin } from '../session.ts';
import { STORE_DEADLINE_MS } from './resources.ts';

const BY = ['tenant', 'key', 'model', 'outcome', 'hour'] as const;
type By = (typeof BY)[number];

const UNITS_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const AGO = /^(\d{1,6})([mhd])$/;

/** A time, or how long ago: `2026-01-31T12:00:00Z`, `90m`, `24h`, `7d`. */
function parseTime(text: string): number {
  const [, count, unit = ''] = AGO.exec(text) ?? [];
  if (count !== undefined) return Date.now() - Number(count) * (UNITS_MS[unit] as number);
  const atMs = Date.parse(text);
  if (Number.isNaN(atMs) || atMs < 0)
    throw new InvalidArgumentError('It must be a time such as 2026-01-31T12:00:00Z, or an age such as 90m, 24h or 7d.');
  return atMs;
}

/** Columns of the fields that a list shows. */
const FIELDS: readonly (readonly [string, readonly (By | '')[], (row: UsageRow__Output) => Cell])[] = [
  ['hour', ['hour'], (row) => new Date(row.periodMs).toISOString().slice(0, 16)],
  ['tenant', ['', 'tenant', 'key'], (row) => row.tenant],
  ['key', ['', 'key'], (row) => row.key],
  ['model', ['', 'model'], (row) => row.model],
  ['outcome', ['', 'outcome'], (row) => row.outcome],
  ['served by', [''], (row) => row.servedBy],
  ['requests', ['', ...BY], (row) => row.requests],
  ['prompt', ['', ...BY], (row) => row.promptTokens],
  ['cached', ['', ...BY], (row) => row.cachedTokens],
  ['completion', ['', ...BY], (row) => row.completionTokens],
  ['untold', ['', ...BY], (row) => row.untold],
];

interface UsageFlags {
  readonly by?: By;
  readonly since?: number;
  readonly until?: number;
}

export function addUsageCommands(program: Command): void {
  program
    .command('usage')
    .description('who has used what')
    .command('list')
    .description('sums of requests and tokens; hours that the span touches count whole')
    .addOption(new Option('--by <what>', 'add up by this alone').choices(BY))
    .option('--since <time>', 'from this time on, or an age such as 24h', parseTime)
    .option('--until <time>', 'up to this time, or an age', parseTime)
    .action(({ by, since, until }: UsageFlags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const span = {
          ...(since === undefined ? {} : { sinceMs: since }),
          ...(until === undefined ? {} : { untilMs: until }),
        };
        const answer = await admin.call('ListUsage', { by: by ?? '', ...span }, STORE_DEADLINE_MS);
        const rows = answer?.rows ?? [];
        const columns = FIELDS.filter(([, shown]) => shown.includes(by ?? ''));
        print.result(answer, () =>
          [
            table(
              columns.map(([name]) => name),
              rows.map((row) => columns.map(([, , cell]) => cell(row))),
              'nothing was used',
            ),
            ...(answer?.truncated === true
              ? ['There are more rows; narrow it down with --by, --since and --until.']
              : []),
            ...(answer?.source === 'spool'
              ? ['This scheduler has no store: the sums are its own, and none of others.']
              : []),
          ].join('\n'),
        );
      }),
    );
}
