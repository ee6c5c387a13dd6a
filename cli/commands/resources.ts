/**
 * `sophia apply|diff|get|describe|delete|plan`: what is declared of the fleet, in the words that users of Kubernetes and
 * Nomad know.
 */
import { type Command, Option } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import type { Resource__Output } from '../../proto/gen/admin/v1/Resource.ts';
import type { ResourceOutcome__Output } from '../../proto/gen/admin/v1/ResourceOutcome.ts';
import { ExitRequest } from '../exit.ts';
import { printable, type Printer } from '../output.ts';
import { asJson, type FileResource, fileOption, readResources, refOf, withPlaces } from '../resources/files.ts';
import {
  describeText,
  diffText,
  eventObject,
  nameText,
  outcomeLines,
  resourceObject,
  resourceTables,
} from '../resources/views.ts';
import type { AdminConnection } from '../rpc.ts';
import { withAdmin } from '../session.ts';
import { reasonOption } from './arguments.ts';
import { confirm } from './confirm.ts';
import { addDefragment } from './defragment.ts';

/** The first use of an embedded store sets a database up; 10,000 resources take their time too. */
export const STORE_DEADLINE_MS = 180_000;

interface FileFlags {
  readonly file?: readonly string[];
}
interface ChangeFlags extends FileFlags {
  readonly dryRun?: boolean;
  readonly reason: string;
}
type Output = 'table' | 'yaml' | 'json';

const MAX_LISTED = 40;

function applyOf(admin: AdminConnection, files: readonly FileResource[], dryRun: boolean, reason: string) {
  const request = { resources: asJson(files), dryRun, reason };
  return withPlaces(files, () => admin.call('ApplyResources', request, STORE_DEADLINE_MS));
}

/** Outcomes with their changes as values instead of JSON in text. */
function outcomeObjects(outcomes: readonly ResourceOutcome__Output[]): object[] {
  return outcomes.map(({ changes, ...rest }) => ({
    resource: nameText(rest),
    ...rest,
    changes: changes.map(({ path, before, after }) => ({
      path,
      ...(before === undefined ? {} : { before: JSON.parse(before) as unknown }),
      ...(after === undefined ? {} : { after: JSON.parse(after) as unknown }),
    })),
  }));
}

function addApply(program: Command): void {
  program
    .command('apply')
    .description(
      'create or change resources; up to 1,000 changes all or none, more in pieces that are each all or none',
    )
    .addOption(fileOption())
    .option('--dry-run', 'let the scheduler check and decide, and change nothing')
    .addOption(reasonOption())
    .action(({ file, dryRun = false, reason }: ChangeFlags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await applyOf(admin, await readResources(file), dryRun, reason);
        const outcomes = answer?.outcomes ?? [];
        const suffix = dryRun ? ' (dry run)' : '';
        print.result(
          { dryRun, seq: answer?.seq, correlationId: answer?.correlationId, outcomes: outcomeObjects(outcomes) },
          () => outcomes.flatMap((outcome) => outcomeLines(outcome, suffix)).join('\n'),
        );
      }),
    );
}

function addDiff(program: Command): void {
  program
    .command('diff')
    .description('what an apply would change, member by member; ends with code 1 when it would change anything')
    .addOption(fileOption())
    .action(({ file }: FileFlags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await applyOf(admin, await readResources(file), true, '');
        const differing = (answer?.outcomes ?? []).filter(({ outcome }) => outcome !== 'unchanged');
        print.result({ differs: differing.length > 0, outcomes: outcomeObjects(differing) }, () =>
          differing.length === 0 ? 'No difference.' : differing.map(diffText).join('\n'),
        );
        if (differing.length > 0) throw new ExitRequest(1);
      }),
    );
}

async function yamlOf(values: readonly unknown[]): Promise<string> {
  const { stringify } = await import('yaml');
  return values.map((value) => stringify(value, { lineWidth: 0 })).join('---\n');
}

async function printResources(
  print: Printer,
  resources: readonly Resource__Output[],
  output: Output,
  isOne: boolean,
): Promise<void> {
  const objects = resources.map(resourceObject);
  if (print.json || output === 'json') {
    const value = isOne ? objects[0] : { apiVersion: 'sophia/v1', kind: 'List', items: objects };
    print.result(value, () => JSON.stringify(value, null, 2));
    return;
  }
  const text =
    output === 'yaml'
      ? (await yamlOf(objects)).trimEnd()
      : resourceTables(resources, Date.now()) || 'No resource is declared.';
  print.result(objects, () => text);
}

const outputOption = (): Option =>
  new Option('-o, --output <form>', 'table, or whole resources').choices(['table', 'yaml', 'json']).default('table');

function addGet(program: Command): void {
  program
    .command('get <kind> [name]')
    .description(
      'resources as they were declared: node, engine, deployment, pool, alias, quarantine, or all; engines and quarantines also as they are',
    )
    .addOption(outputOption())
    .action((kind: string, name: string | undefined, { output }: { output: Output }, command: Command) =>
      withAdmin(command, async (admin, print) => {
        if (name === undefined) {
          const resources = (await admin.call('ListResources', { kind }, STORE_DEADLINE_MS))?.resources ?? [];
          await printResources(print, resources, output, false);
          return;
        }
        const resource = (await admin.call('GetResource', { kind, name }, STORE_DEADLINE_MS))?.resource;
        if (!resource) throw new CodedError('not_found', `There is no ${kind} "${name}".`, { param: 'name' });
        await printResources(print, [resource], output, true);
      }),
    );
}

function addDescribe(program: Command): void {
  program
    .command('describe <kind> <name>')
    .description('one resource with its replicas or its state, what it refers to, and its newest events')
    .action((kind: string, name: string, _flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('DescribeResource', { kind, name }, STORE_DEADLINE_MS);
        if (!answer?.resource) throw new CodedError('not_found', `There is no ${kind} "${name}".`, { param: 'name' });
        const { resource, statusNote, notes, events } = answer;
        const object = resourceObject(resource);
        const specText = await yamlOf([object['spec']]);
        print.result({ resource: object, statusNote, notes, events: events.map(eventObject) }, () =>
          describeText({ resource, statusNote, notes, events, specText }),
        );
      }),
    );
}

async function confirmDelete(names: readonly string[]): Promise<void> {
  const rest = names.length > MAX_LISTED ? `  and ${names.length - MAX_LISTED} more\n` : '';
  const listed = names.slice(0, MAX_LISTED).map((name) => `  ${name}\n`);
  await confirm(`This deletes:\n${listed.join('')}${rest}`, 'Delete?', 'Nothing was deleted.');
}

interface DeleteFlags extends ChangeFlags {
  readonly yes?: boolean;
  readonly ignoreNotFound?: boolean;
}

/** @throws CodedError invalid_config */
async function refsToDelete(kind: string | undefined, names: readonly string[], file: readonly string[] | undefined) {
  if (file !== undefined && kind === undefined) return (await readResources(file)).map(refOf);
  if (file !== undefined || kind === undefined || names.length === 0)
    throw new CodedError('invalid_config', 'Name what to delete by -f, or by its kind and name.', { param: '-f' });
  return names.map((name) => ({ kind, name }));
}

function addDelete(program: Command): void {
  program
    .command('delete [kind] [names...]')
    .description(
      'delete resources, by kind and name or those of files; asks first; an engine of a deployment is stopped and placed anew',
    )
    .addOption(fileOption())
    .option('--yes', 'do not ask')
    .option('--ignore-not-found', 'what is not there is no failure')
    .option('--dry-run', 'say what would be deleted')
    .addOption(reasonOption())
    .action(async (kind: string | undefined, names: string[], flags: DeleteFlags, command: Command) => {
      const { file, dryRun = false, reason, yes = false, ignoreNotFound = false } = flags;
      const resources = await refsToDelete(kind, names, file);
      if (!yes && !dryRun) await confirmDelete(resources.map(nameText));
      await withAdmin(command, async (admin, print) => {
        const answer = await admin.call('DeleteResources', { resources, dryRun, reason }, STORE_DEADLINE_MS);
        const outcomes = answer?.outcomes ?? [];
        const suffix = dryRun ? ' (dry run)' : '';
        print.result(
          { dryRun, seq: answer?.seq, correlationId: answer?.correlationId, outcomes: outcomeObjects(outcomes) },
          () => outcomes.flatMap((outcome) => outcomeLines(outcome, suffix)).join('\n'),
        );
        if (!ignoreNotFound && outcomes.some(({ outcome }) => outcome === 'not_found')) throw new ExitRequest(1);
      });
    });
}

function addPlan(program: Command): Command {
  return program
    .command('plan')
    .description('what the scheduler would do about an apply: which replicas start, move and stop; changes nothing')
    .addOption(fileOption())
    .action(({ file }: FileFlags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const files = await readResources(file);
        const plan = await withPlaces(files, () =>
          admin.call('PlanResources', { resources: asJson(files) }, STORE_DEADLINE_MS),
        );
        const outcomes = plan?.outcomes ?? [];
        print.result({ ...plan, outcomes: outcomeObjects(outcomes) }, () =>
          [
            ...outcomes.filter(({ outcome }) => outcome !== 'unchanged').map(diffText),
            ...(plan?.lines ?? []).map(printable),
            `Plan: ${plan?.assignments ?? 0} to start, ${plan?.preemptions ?? 0} preempted, ${plan?.stops ?? 0} to stop, ${plan?.pending ?? 0} pending.`,
          ].join('\n'),
        );
      }),
    );
}

export function addResourceCommands(program: Command): void {
  addApply(program);
  addDiff(program);
  addGet(program);
  addDescribe(program);
  addDelete(program);
  addDefragment(addPlan(program));
}
