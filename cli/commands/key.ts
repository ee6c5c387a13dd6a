/**
 * `sophia key`: API keys. The secret of a new key is printed once and kept nowhere but with whoever asked for it.
 */
import { type Command, InvalidArgumentError } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import type { Key__Output } from '../../proto/gen/admin/v1/Key.ts';
import { ageText, details, table } from '../output.ts';
import { withAdmin } from '../session.ts';
import { reasonOption } from './arguments.ts';

const ROLES = ['user', 'operator', 'admin', 'gateway'];

function parseRoles(text: string): string[] {
  const roles = text.split(',').map((role) => role.trim());
  const unknown = roles.find((role) => !ROLES.includes(role));
  if (unknown !== undefined) throw new InvalidArgumentError(`"${unknown}" is no role; allowed: ${ROLES.join(', ')}.`);
  return roles;
}

function parseDays(text: string): number {
  const days = Number(text);
  if (!Number.isFinite(days) || days <= 0 || days > 3650)
    throw new InvalidArgumentError('Give a number of days, above 0 and up to 3650.');
  return days;
}

function parseWeight(text: string): number {
  const weight = Number(text);
  if (!Number.isInteger(weight) || weight < 1 || weight > 1000)
    throw new InvalidArgumentError('Give a whole number from 1 to 1000.');
  return weight;
}

function keyState(key: Key__Output, nowMs: number): string {
  if (key.revokedAtMs !== undefined) return 'revoked';
  if (key.expiresAtMs !== undefined && key.expiresAtMs <= nowMs) return 'expired';
  return 'valid';
}

/** What `sophia key show` says of a key; times are those of the scheduler's clock. */
function keyDetails(key: Key__Output, nowMs: number): [string, string][] {
  const at = (atMs: number | undefined): string => (atMs === undefined ? 'never' : new Date(atMs).toISOString());
  return [
    ['id', key.id],
    ['name', key.name],
    ['tenant', key.tenant],
    ['roles', key.roles.join(', ')],
    ['weight', String(key.weight)],
    ['state', keyState(key, nowMs)],
    ['created', at(key.createdAtMs)],
    ['expires', at(key.expiresAtMs)],
    ['revoked', at(key.revokedAtMs)],
  ];
}

function addCreate(key: Command): void {
  key
    .command('create')
    .description('make a key; its secret is shown once')
    .requiredOption('--name <text>', 'what the key is for')
    .option('--tenant <id>', 'whose requests it makes', 'default')
    .option('--roles <list>', `of ${ROLES.join(', ')}`, parseRoles, ['user'])
    .option('--expires-in-days <n>', 'when it stops to work', parseDays)
    .option('--weight <n>', 'share under contention', parseWeight)
    .addOption(reasonOption())
    .action(
      (
        flags: {
          name: string;
          tenant: string;
          roles: string[];
          expiresInDays?: number;
          weight?: number;
          reason: string;
        },
        command: Command,
      ) =>
        withAdmin(command, async (admin, print) => {
          const answer = await admin.call('CreateKey', {
            name: flags.name,
            tenant: flags.tenant,
            roles: flags.roles,
            reason: flags.reason,
            ...(flags.expiresInDays === undefined ? {} : { expiresInS: Math.round(flags.expiresInDays * 86_400) }),
            ...(flags.weight === undefined ? {} : { weight: flags.weight }),
          });
          print.result(answer, () =>
            [
              details([
                ['id', answer?.key?.id],
                ['tenant', answer?.key?.tenant],
                ['roles', answer?.key?.roles.join(', ')],
                ['key', answer?.secret],
              ]),
              'The key is shown this once. Keep it now.',
            ].join('\n'),
          );
        }),
    );
}

export function addKeyCommands(program: Command): void {
  const key = program.command('key').description('API keys');
  addCreate(key);
  key
    .command('list')
    .description('all keys, without their secrets')
    .action((_flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const keys = (await admin.call('ListKeys', {}))?.keys ?? [];
        const nowMs = Date.now();
        print.result({ keys }, () =>
          table(
            ['id', 'name', 'tenant', 'roles', 'state', 'age'],
            keys.map((entry) => [
              entry.id,
              entry.name,
              entry.tenant,
              entry.roles.join(','),
              keyState(entry, nowMs),
              ageText(nowMs, entry.createdAtMs),
            ]),
          ),
        );
      }),
    );
  key
    .command('show <id>')
    .description('one key, without its secret')
    .action((id: string, _flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const found = (await admin.call('ListKeys', {}))?.keys.find((entry) => entry.id === id);
        if (found === undefined) throw new CodedError('not_found', 'No key has this id.', { param: 'id' });
        const nowMs = Date.now();
        print.result({ key: found }, () => details(keyDetails(found, nowMs)));
      }),
    );
  key
    .command('revoke <id>')
    .description('a revoked key stops to work at once')
    .addOption(reasonOption())
    .action((id: string, { reason }: { reason: string }, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('RevokeKey', { id, reason });
        print.result(answer, () => `Key ${answer?.key?.id ?? id} is revoked.`);
      }),
    );
}
