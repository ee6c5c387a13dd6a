/**
 * `sophia node enrol|cordon|uncordon|retire`: what operators declare of a host. They change its Node resource and nothing
 * else; what follows from that is reconcile's (docs/RECONCILE.md). A change is made only on the version that was read.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import { issueCertificate, readPair } from '../../lib/io/local_ca.ts';
import { details } from '../output.ts';
import { nameText } from '../resources/views.ts';
import type { AdminConnection } from '../rpc.ts';
import { printerOf, withAdmin } from '../session.ts';
import { reasonOption } from './arguments.ts';
import { parseName } from './ca.ts';
import { confirm } from './confirm.ts';
import { STORE_DEADLINE_MS } from './resources.ts';

interface NodeSpec {
  readonly region?: string;
  readonly cordoned?: boolean;
  readonly draining?: boolean;
  readonly retired?: boolean;
}

interface DeclaredNode {
  readonly spec: NodeSpec;
  readonly labels: Readonly<Record<string, string>>;
  readonly version: number;
}

/** What is declared of a node; undefined: nothing. */
async function declaredNode(admin: AdminConnection, name: string): Promise<DeclaredNode | undefined> {
  try {
    const found = (await admin.call('GetResource', { kind: 'node', name }, STORE_DEADLINE_MS))?.resource;
    if (!found) return undefined;
    const { specJson, labels, version } = found;
    return { spec: JSON.parse(specJson) as NodeSpec, labels, version };
  } catch (thrown) {
    if (thrown instanceof CodedError && thrown.code === 'not_found') return undefined;
    throw thrown;
  }
}

/** @returns `created`, `changed` or `unchanged` @throws CodedError version_conflict when somebody else was faster */
async function declare(
  admin: AdminConnection,
  name: string,
  before: DeclaredNode | undefined,
  change: { readonly spec: NodeSpec; readonly reason: string },
): Promise<string> {
  const { spec, reason } = change;
  const metadata = { name, ...(before === undefined ? {} : { labels: before.labels, version: before.version }) };
  const resource = { apiVersion: 'sophia/v1', kind: 'Node', metadata, spec };
  const request = { resources: [JSON.stringify(resource)], dryRun: false, reason };
  const answer = await admin.call('ApplyResources', request, STORE_DEADLINE_MS);
  return answer?.outcomes[0]?.outcome ?? 'unchanged';
}

/** The nodes that the scheduler knows, so that a misspelt name is no new node. @throws CodedError not_found */
async function mustBeKnown(admin: AdminConnection, name: string): Promise<void> {
  const nodes = (await admin.call('ListNodes', {}))?.nodes ?? [];
  if (nodes.some((node) => node.name === name)) return;
  throw new CodedError('not_found', `There is no node "${name}".`, { param: 'name' });
}

interface Verb {
  readonly name: 'cordon' | 'uncordon' | 'retire' | 'unretire';
  readonly description: string;
  readonly member: 'cordoned' | 'retired';
  readonly value: boolean;
  readonly done: string;
}

const VERBS: readonly Verb[] = [
  {
    ...{ name: 'cordon', description: 'place nothing new on a node; what runs there goes on', member: 'cordoned' },
    ...{ value: true, done: 'Nothing new is placed on it.' },
  },
  {
    ...{ name: 'uncordon', description: 'let replicas be placed on a node again', member: 'cordoned', value: false },
    done: 'Replicas may be placed on it.',
  },
  {
    ...{
      name: 'retire',
      description: 'declare a node gone for good: its replicas move; asks first',
      member: 'retired',
    },
    ...{ value: true, done: 'Its replicas are placed elsewhere; its agent may then be stopped.' },
  },
  {
    ...{ name: 'unretire', description: 'take a retired node back', member: 'retired', value: false },
    done: 'It is a node of the fleet again.',
  },
];

const GONE =
  'A retired node is drained while its agent is connected. While it is away, its replicas are started elsewhere at once:\n' +
  'be sure that it is off, or that nobody can reach what it runs.\n';

function addVerb(node: Command, { name: verb, description, member, value, done }: Verb): void {
  const command = node.command(`${verb} <name>`).description(description).addOption(reasonOption());
  const asks = verb === 'retire';
  if (asks) command.option('--yes', 'do not ask');
  command.action((name: string, { reason, yes = false }: { reason: string; yes?: boolean }, self: Command) =>
    withAdmin(self, async (admin, print) => {
      await mustBeKnown(admin, name);
      if (asks && !yes) await confirm(`This retires node ${name}.\n${GONE}`, 'Retire?', 'Nothing was changed.');
      const before = await declaredNode(admin, name);
      const { [member]: _replaced, ...rest } = before?.spec ?? {};
      const spec = value ? { ...rest, [member]: true } : rest;
      const isNews = before !== undefined || value;
      const outcome = isNews ? await declare(admin, name, before, { spec, reason }) : 'unchanged';
      print.result({ name, outcome, [member]: value }, () => `${nameText({ kind: 'node', name })} ${outcome}. ${done}`);
    }),
  );
}

interface EnrolFlags {
  readonly dir: string;
  readonly out?: string;
  readonly scheduler: readonly string[];
  readonly host: readonly string[];
  readonly region?: string;
  readonly folder: string;
  readonly declare: boolean;
  readonly force?: boolean;
  readonly reason: string;
}

const HOST_PORT = /^(?:[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/;
const FOLDER = /^\/[A-Za-z0-9._/-]{0,200}$/;

function collectScheduler(value: string, before: readonly string[]): string[] {
  if (!HOST_PORT.test(value)) throw new InvalidArgumentError(`"${value}" is not host:port.`);
  return [...before, value];
}

function collectHost(value: string, before: readonly string[]): string[] {
  if (!/^[A-Za-z0-9.:-]{1,253}$/.test(value)) throw new InvalidArgumentError(`"${value}" is no host name or address.`);
  return [...before, value];
}

function parseFolder(value: string): string {
  if (!FOLDER.test(value)) throw new InvalidArgumentError('It must be an absolute path of plain characters.');
  return value.replace(/\/+$/, '');
}

/** Writes what holds a key: for its owner only, and never over another file by accident. */
async function writeBundle(file: string, bytes: Buffer, force: boolean): Promise<void> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true });
  try {
    if (force) await rm(file, { force: true });
    await writeFile(file, bytes, { mode: 0o600, flag: 'wx' });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
    throw new CodedError('already_exists', `${file} is there already; give --force to replace it.`, { param: 'out' });
  }
}

/** Declares the node, so that it is known before its agent comes. @throws CodedError already_exists when it is retired */
async function declareNew(admin: AdminConnection, name: string, { region, reason }: EnrolFlags): Promise<string> {
  const before = await declaredNode(admin, name);
  if (before?.spec.retired === true)
    throw new CodedError('already_exists', `Node ${name} is retired; take it back with sophia node unretire ${name}.`, {
      param: 'name',
    });
  const spec = { ...before?.spec, ...(region === undefined ? {} : { region }) };
  return declare(admin, name, before, { spec, reason });
}

async function enrol(name: string, flags: EnrolFlags, command: Command): Promise<void> {
  const { dir, out = `${name}.tar`, scheduler: schedulers, host: hosts, folder, force = false } = flags;
  const ca = await readPair(dir, 'ca');
  if (ca === undefined)
    throw new CodedError('invalid_config', `There is no authority in ${dir}; make one with sophia ca init.`, {
      param: 'dir',
    });
  if (schedulers.length === 0)
    throw new CodedError('invalid_config', 'Say by --scheduler whom the agent is to dial.', { param: '--scheduler' });
  const nowMs = Date.now();
  const pair = await issueCertificate(ca, { commonName: name, hosts, nowMs });
  const { bundleOf } = await import('../enrol/bundle.ts');
  const mtimeS = Math.floor(nowMs / 1000);
  const bundle = bundleOf({ name, folder, schedulers, caPem: ca.certPem, pair, mtimeS });
  const finish = async (declared: string): Promise<{ name: string; file: string; declared: string }> => {
    await writeBundle(out, bundle, force);
    return { name, file: path.resolve(out), declared };
  };
  const result = flags.declare
    ? await withAdmin(command, async (admin) => finish(await declareNew(admin, name, flags)))
    : await finish('not declared');
  printerOf(command).result(result, () =>
    details([
      ['node', name],
      ['declared', result.declared],
      ['bundle', `${result.file} (holds a private key; delete it once it is on the host)`],
      ['on the host', `tar -xf ${path.basename(out)} -C ${folder}`],
    ]),
  );
}

export function addNodeDeclarations(node: Command): void {
  node
    .command('enrol')
    .argument('<name>', 'node name of the new host', parseName)
    .description('declare a new host, and write what it needs to join: certificate, key, authority, agent.yaml')
    .requiredOption('--dir <folder>', "folder of the fleet's authority (sophia ca)")
    .option('--scheduler <host:port>', 'whom its agent dials; again for more', collectScheduler, [])
    .option('--host <name>', 'name or address under which others reach the host; again for more', collectHost, [])
    .option('--region <name>', 'where it is')
    .option('--out <file>', 'the bundle, a tar with mode 0600; default NAME.tar')
    .option('--folder <path>', 'where it is unpacked on the host', parseFolder, '/etc/sophia')
    .option('--no-declare', 'write the bundle only: for a fleet without a store')
    .option('--force', 'replace the bundle')
    .addOption(reasonOption())
    .action(enrol);
  for (const verb of VERBS) addVerb(node, verb);
}
