/** `sophia freeze|unfreeze|event|replay`: the log of all changes, its past, and the stop of all reconcile. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import type { Freeze__Output } from '../../proto/gen/admin/v1/Freeze.ts';
import { ExitRequest } from '../exit.ts';
import { printable, type Printer, table } from '../output.ts';
import { eventLine, eventObject, freezeText } from '../resources/views.ts';
import { withAdmin } from '../session.ts';
import { countOption, onInterrupt, reasonOption } from './arguments.ts';
import { STORE_DEADLINE_MS } from './resources.ts';

const SIGINT_EXIT = 130;
const DEFAULT_EVENTS = 100;
const MAX_EVENTS = 1000;

function printFreeze(print: Printer, freeze: Freeze__Output | null | undefined): void {
  if (!freeze) throw new CodedError('internal', 'The scheduler gave no answer.');
  print.result(freeze, () => freezeText(freeze));
}

function addFreeze(program: Command): void {
  program
    .command('freeze')
    .description('stop all reconcile, fleet-wide: what runs goes on running, nothing is started, moved or stopped')
    .addOption(reasonOption())
    .option('--show', 'say whether it is frozen, and change nothing')
    .action(({ reason, show = false }: { reason: string; show?: boolean }, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = show
          ? await admin.call('GetFreeze', {})
          : await admin.call('SetFreeze', { reason }, STORE_DEADLINE_MS);
        printFreeze(print, answer?.freeze);
      }),
    );
  program
    .command('unfreeze')
    .description('let reconcile go on')
    .addOption(reasonOption())
    .option('--accept-log', 'take a log of which events are missing as it is; look first')
    .action(({ reason, acceptLog = false }: { reason: string; acceptLog?: boolean }, command: Command) =>
      withAdmin(command, async (admin, print) => {
        printFreeze(print, (await admin.call('LiftFreeze', { reason, acceptLog }, STORE_DEADLINE_MS))?.freeze);
      }),
    );
}

interface EventFlags {
  readonly follow?: boolean;
  readonly after?: number;
  readonly limit: number;
  readonly kind?: string;
  readonly name?: string;
}

function parseSeq(text: string): number {
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be the number of an event.');
  return value;
}

function addEvents(program: Command): void {
  program
    .command('event')
    .description('the log of all changes')
    .command('list')
    .description('the newest events, or those after one, oldest first')
    .option('-f, --follow', 'go on with what comes; with --json one object a line')
    .option('--after <seq>', 'only events after this one', parseSeq)
    .addOption(countOption('--limit <n>', 'most events from before now', DEFAULT_EVENTS, MAX_EVENTS))
    .option('--kind <kind>', 'only of this kind of resource')
    .option('--name <name>', 'only of this name')
    .action(({ follow = false, after, limit, kind = '', name = '' }: EventFlags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const stop = new AbortController();
        const forget = onInterrupt(() => stop.abort());
        process.stdout.on('error', () => stop.abort());
        const kept: object[] = [];
        const request = { follow, limit, kind, name, ...(after === undefined ? {} : { after }) };
        await admin.stream(
          'ListEvents',
          request,
          async ({ events }) => {
            if (print.json && !follow) kept.push(...events.map(eventObject));
            else if (print.json)
              await print.stream(events.map((event) => `${JSON.stringify(eventObject(event))}\n`).join(''));
            else await print.stream(events.map((event) => `${eventLine(event)}\n`).join(''));
          },
          stop.signal,
        );
        forget();
        if (print.json && !follow) print.result({ events: kept }, () => '');
        if (stop.signal.aborted) throw new ExitRequest(SIGINT_EXIT);
      }),
    );
}

/** A number is an event, anything else a time. */
function parseUntil(text: string): { readonly seq: number } | { readonly atMs: number } {
  if (/^\d{1,15}$/.test(text)) return { seq: Number(text) };
  const atMs = Date.parse(text);
  if (Number.isNaN(atMs))
    throw new InvalidArgumentError('It must be the number of an event, or a time such as 2026-01-31T12:00:00Z.');
  return { atMs };
}

function addReplay(program: Command): void {
  program
    .command('replay')
    .description('the state of the fleet at some point of the past, from the log alone')
    .addOption(
      new Option('--until <seq|time>', 'up to and with this event or time').argParser(parseUntil).makeOptionMandatory(),
    )
    .option('--area <area>', 'only desired, placement, lifecycle, access, quarantine or freeze', '')
    .action(({ until, area }: { until: ReturnType<typeof parseUntil>; area: string }, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('Replay', { ...until, area }, STORE_DEADLINE_MS);
        const entries = answer?.entries ?? [];
        const objects = entries.map(({ valueJson, ...rest }) => ({ ...rest, value: JSON.parse(valueJson) as unknown }));
        const seq = answer?.seq ?? 0;
        const atMs = answer?.atMs ?? 0;
        const truncated = answer?.truncated === true;
        print.result({ seq, atMs, truncated, entries: objects }, () =>
          [
            `State after event ${seq}${atMs === 0 ? '' : `, ${new Date(atMs).toISOString()}`}:`,
            table(
              ['area', 'resource', 'version', 'by', 'value'],
              entries.map(({ area: of, kind, name, version, actor, valueJson }) => [
                of,
                `${kind.toLowerCase()}/${name}`,
                version,
                actor,
                printable(valueJson).slice(0, 200),
              ]),
              'nothing',
            ),
            ...(truncated ? ['There are more entries; narrow it down with --area.'] : []),
          ].join('\n'),
        );
      }),
    );
}

export function addLogCommands(program: Command): void {
  addFreeze(program);
  addEvents(program);
  addReplay(program);
}
