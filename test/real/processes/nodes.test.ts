/** Hosts through the command line: enrolled, joined with nothing but the bundle, cordoned, retired, and what the list says. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { mainOf } from '../../../lib/io/local_fleet.ts';
import { buildProgram } from '../../../cli/program.ts';
import { makeHome } from '../../cli/sophia.ts';
import { startChild } from '../../support/child.ts';
import { until } from '../../support/waits.ts';

t.setTimeout(240_000);

interface Shown {
  readonly name: string;
  readonly connected: boolean;
  readonly standings: readonly { readonly state: string; readonly reason: string }[];
}

t.test('a host is enrolled, joins, is cordoned and retired', async (t) => {
  const home = makeHome(t);
  const root = path.join(home.root, 'site');
  const authority = path.join(root, 'authority');
  const keyFile = path.join(root, 'first.key');
  mkdirSync(root);
  let target: string[] = [];
  /** The command in this process: a process for each would be most of the time of this test. */
  const run = async (...args: string[]): Promise<string> => {
    const written: string[] = [];
    const { write } = process.stdout;
    process.stdout.write = ((text: string) => written.push(text) > 0) as typeof write;
    try {
      await buildProgram().parseAsync([...args, ...target], { from: 'user' });
    } finally {
      process.stdout.write = write;
    }
    return written.join('');
  };
  const good = async (...args: string[]): Promise<Record<string, unknown>> =>
    JSON.parse((await run(...args, '--json')).trim().split('\n').at(-1) as string) as Record<string, unknown>;
  const standings = async (): Promise<string[]> => {
    const { nodes } = (await good('node', 'list')) as unknown as { nodes: Shown[] };
    return nodes.map(({ name, standings: [first] }) => `${name} ${first?.state}: ${first?.reason}`);
  };
  await good('ca', 'init', '--dir', authority);
  await good('ca', 'issue', 'scheduler', '--host', '127.0.0.1', '--dir', authority);
  const config = path.join(root, 'scheduler.yaml');
  const file = (name: string): string => path.join(authority, name);
  writeFileSync(
    config,
    JSON.stringify({
      ...{ httpPort: 0, grpcPort: 0, fleetPort: 0, dataDir: path.join(root, 'data'), bootstrapKeyFile: keyFile },
      ...{ fleetCertFile: file('scheduler.crt'), fleetKeyFile: file('scheduler.key'), fleetCaFile: file('ca.crt') },
      storePollMs: 50,
    }),
  );
  const scheduler = startChild(t, { args: [mainOf('scheduler'), '--config', config] });
  const [line] = await scheduler.waitFor(/^\{"type":"ready".*\}$/m, 30_000);
  const { grpcPort, fleetPort } = JSON.parse(line) as { grpcPort: number; fleetPort: number };
  target = ['--endpoint', `127.0.0.1:${grpcPort}`, '--key-file', keyFile];

  t.same(await standings(), []);
  t.notOk(existsSync(path.join(root, 'data', 'store')), 'to look at nodes opens no store');
  const bundle = path.join(root, 'out', 'gpu-9.tar');
  const host = path.join(root, 'host');
  const args = ['node', 'enrol', 'gpu-9', '--dir', authority, '--scheduler', `127.0.0.1:${fleetPort}`];
  const enrolled = await good(...args, '--folder', host, '--out', bundle, '--region', 'eu', '--reason', 'new rack');
  t.match(enrolled, { name: 'gpu-9', declared: 'created', file: bundle });
  t.equal(statSync(bundle).mode & 0o777, 0o600);
  t.notOk(existsSync(file('gpu-9.key')), 'no second copy of the key');
  t.same(await standings(), ['gpu-9 enrolled: its agent has not come to this scheduler yet']);
  await t.rejects(run(...args, '--out', bundle), { code: 'already_exists', message: /give --force/ });
  await t.rejects(run(...args.slice(0, 5)), { code: 'invalid_config', param: '--scheduler' });
  await t.rejects(run('node', 'enrol', 'x', '--dir', root, '--scheduler', 'a:1'), { message: /no authority/ });
  const plain = path.join(root, 'plain.tar');
  t.match(await good(...args, '--no-declare', '--out', plain), { declared: 'not declared' });
  t.match(await good(...args, '--out', plain, '--force'), { declared: 'unchanged' });

  mkdirSync(host);
  execFileSync('tar', ['-xf', bundle, '-C', host]);
  const settings = path.join(host, 'agent.yaml');
  const more = ['--data-dir', path.join(host, 'data'), '--gpu-reader', 'none'];
  const agent = startChild(t, { args: [mainOf('agent'), '--config', settings, ...more] });
  await until(
    async () => {
      await sleep(500);
      return (await standings()).includes('gpu-9 ready: ');
    },
    'the agent',
    60_000,
  );

  t.match(await good('node', 'cordon', 'gpu-9', '--reason', 'fan'), { outcome: 'changed' });
  t.match(await standings(), [/^gpu-9 cordoned: by key:\S+: fan$/]);
  t.match(await good('node', 'cordon', 'gpu-9'), { outcome: 'unchanged' });
  t.match(await good('get', 'node', 'gpu-9'), { spec: { region: 'eu', cordoned: true } }, 'nothing else changed');
  t.match(await good('node', 'uncordon', 'gpu-9'), { outcome: 'changed' });
  t.same(await standings(), ['gpu-9 ready: ']);
  await t.rejects(run('node', 'cordon', 'gpu-8'), { code: 'not_found' });
  await t.rejects(run('node', 'retire', 'gpu-9'), { code: 'invalid_config', message: /give --yes/ });
  t.match(await good('node', 'retire', 'gpu-9', '--yes', '--reason', 'sold'), { outcome: 'changed' });
  t.match(await standings(), [/^gpu-9 retired: by key:\S+: sold$/]);
  await t.rejects(run(...args, '--out', `${bundle}2`), { code: 'already_exists', message: /is retired/ });
  t.notOk(existsSync(`${bundle}2`));
  t.match(await good('node', 'unretire', 'gpu-9'), { outcome: 'changed' });
  t.match(await run('node', 'list'), /NODE +AGENT +STATE .* WHY *\n *gpu-9 +connected +ready/);
  t.match(readFileSync(settings, 'utf8'), /nodeName: "gpu-9"/);
  await agent.stop();
  await scheduler.stop();
});
