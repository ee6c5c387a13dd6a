/** The inventory plugin for Lambda Cloud, through ansible-inventory, against a loopback stand-in for its API. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { COLLECTION, partsOf, type Ran, run } from './world.ts';

const { venv } = partsOf(process.env);
const KEY = 'secret_canary_key';

const instance = (id: string, more: object): object => ({
  id,
  name: `gpu-${id}`,
  ip: '192.0.2.1',
  private_ip: '10.0.0.1',
  status: 'active',
  region: { name: 'us-east-3', description: 'somewhere' },
  instance_type: { name: 'gpu_1x_gh200', specs: { gpus: 1 } },
  file_system_names: ['models'],
  jupyter_token: 'canary_token',
  jupyter_url: 'https://jupyter.example/?token=canary_token',
  ...more,
});

let status = 200;
let answer: unknown = {};
const asked: (string | undefined)[] = [];
const server = createServer((request, response) => {
  asked.push(`${request.method} ${request.url} ${request.headers.authorization}`);
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
t.teardown(() => server.close());
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1`;

async function list(folder: string, more = ''): Promise<Ran> {
  const file = path.join(folder, 'fleet.lambda_cloud.yml');
  writeFileSync(file, `plugin: lambda_cloud\nurl: ${url}\n${more}`);
  const env = { LAMBDA_API_KEY: KEY, HOME: folder, ANSIBLE_CONFIG: path.join(COLLECTION, 'ansible.cfg') };
  return run(path.join(venv, 'bin', 'ansible-inventory'), ['-i', file, '--list'], {
    cwd: COLLECTION,
    env: { ...env, ANSIBLE_INVENTORY_ENABLED: 'lambda_cloud', ANSIBLE_INVENTORY_UNPARSED_FAILED: 'True' },
  });
}

interface Listed {
  readonly _meta: { readonly hostvars: Readonly<Record<string, Readonly<Record<string, unknown>>>> };
  readonly [group: string]: unknown;
}

/** ansible-inventory marks what came from outside, and is never a template, with a member of its own. */
const parse = (stdout: string): Listed =>
  JSON.parse(stdout, (_key, value: { __ansible_unsafe?: unknown } | null) =>
    typeof value === 'object' && value !== null && '__ansible_unsafe' in value ? value.__ansible_unsafe : value,
  ) as Listed;
const hostsOf = (listed: Listed, group: string): string[] => (listed[group] as { hosts?: string[] })?.hosts ?? [];

t.setTimeout(180_000);

t.test('running instances become hosts with groups and variables, and no token becomes one', async (t) => {
  answer = {
    data: [
      instance('1', {}),
      instance('2', { region: { name: 'us-west-1' }, ip: '192.0.2.2' }),
      instance('6', { name: 'x{{ lookup("pipe", "id") }}', ip: '{{ 1 + 1 }}' }),
      instance('3', { status: 'booting' }),
      instance('4', { name: null, ip: '192.0.2.4' }),
      instance('5abcdef01', { name: 'gpu-1', ip: '192.0.2.5' }),
    ],
  };
  const ran = await list(t.testdir());
  t.equal(ran.code, 0, ran.stderr);
  const listed = parse(ran.stdout);
  t.same(hostsOf(listed, 'sophia_agents').toSorted(), ['4', '6', 'gpu-1', 'gpu-1-5abcdef0', 'gpu-2']);
  t.same(hostsOf(listed, 'lambda_region_us_west_1'), ['gpu-2']);
  t.equal(hostsOf(listed, 'lambda_type_gpu_1x_gh200').length, 5);
  t.match(ran.stdout, /1 \+ 1/, 'what an account holds is never a template');
  t.match(listed._meta.hostvars['gpu-2'], {
    ansible_host: '192.0.2.2',
    lambda_gpus: 1,
    lambda_file_systems: ['models'],
  });
  t.notMatch(ran.stdout + ran.stderr, /canary/);
  t.same(asked, [`GET /api/v1/instances Bearer ${KEY}`]);
});

t.test('regions, names and states choose; compose and keyed_groups work as in other plugins', async (t) => {
  const more = [
    'regions: [us-west-1]',
    'name_pattern: "2$"',
    'compose: {ansible_user: "\'ubuntu\'"}',
    'keyed_groups: [{key: lambda_status, prefix: state}]',
  ].join('\n');
  const listed = parse((await list(t.testdir(), more)).stdout);
  t.same(hostsOf(listed, 'sophia_agents'), ['gpu-2']);
  t.same(hostsOf(listed, 'state_active'), ['gpu-2']);
  t.equal(listed._meta.hostvars['gpu-2']?.['ansible_user'], 'ubuntu');
});

t.test('an account that cannot be asked is an error and never an empty fleet', async (t) => {
  const cases: readonly (readonly [status: number, answer: unknown, words: RegExp])[] = [
    [401, { error: { code: 'global/invalid-api-key' } }, /is the API key valid/],
    [503, 'busy', /answered 503/],
    [200, 'not json', /not a list of instances/],
    [200, { data: [{ name: 'no id' }] }, /not a list of instances/],
    [200, { data: null }, /not a list of instances/],
  ];
  for (const [code, body, words] of cases) {
    status = code;
    answer = body;
    const ran = await list(t.testdir());
    t.not(ran.code, 0, `${code} ${JSON.stringify(body)}`);
    t.match(ran.stderr.replace(/\s+/g, ' '), words);
    t.notMatch(ran.stderr, /canary/);
  }
});
