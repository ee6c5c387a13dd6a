/** What a running scheduler and a running agent expose, against the page that promises it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { fakeNvidiaSmi } from '../../bench/idle/fake_gpus.ts';
import { packageRoot } from '../../lib/io/package_root.ts';
import { eventually } from '../support/child.ts';
import { simEngine, startFleet } from '../support/fleet.ts';

t.setTimeout(120_000);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface Documented {
  readonly type: string;
  readonly labels: string;
  readonly unit: string;
  readonly help: string;
}

/** The rows of docs/METRICS.md by name. */
async function documented(): Promise<Map<string, Documented>> {
  const page = await readFile(path.join(packageRoot(), 'docs', 'METRICS.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `(\w+)` \| (\w+) \| (.+?) \| (.+?) \| (?:agent|scheduler|both) \| (.+) \|$/gm)];
  return new Map(
    rows.map(([, name = '', type = '', labels = '', unit = '', help = '']) => [name, { type, labels, unit, help }]),
  );
}

/** Label names of the series of each metric; those of a histogram's parts count as the histogram's. */
function labelsOf(text: string, types: ReadonlyMap<string, string>): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const [, series = '', labels = ''] of text.matchAll(/^(\w+)(\{.*\})? \S+$/gm)) {
    const name = types.has(series) ? series : series.replace(/_(bucket|sum|count)$/, '');
    const set = found.get(name) ?? new Set<string>();
    for (const label of labels.matchAll(/[{,](\w+)="/g)) set.add(label[1] as string);
    found.set(name, set);
  }
  return found;
}

const value = (text: string, series: string): number | undefined => {
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
};

t.test('every metric of both processes is on the page, and readings are the same at either place', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'metrics-test-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const metricsPort = await freePort();
  const fleet = await startFleet(t, {
    engines: [simEngine({ name: 'sim-a', model: 'm' })],
    agent: { metricsPort, gpuPeriodMs: 500 },
    env: { PATH: await fakeNvidiaSmi(folder, 2, process.env['PATH'] ?? '') },
  });
  const ofAgent = async (): Promise<string> => (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const ofScheduler = async (): Promise<string> =>
    (await fetch(`${fleet.url}/metrics`, { headers: { authorization: `Bearer ${fleet.key}` } })).text();
  const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 4 });
  const headers = { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json' };
  t.equal((await fetch(`${fleet.url}/v1/chat/completions`, { method: 'POST', headers, body })).status, 200);
  const gpu = '{node="test-node",gpu="1"}';
  const engine = '{node="test-node",engine="sim-a"}';
  await eventually(
    'host memory of the engine is read and told',
    async () => {
      return value(await ofScheduler(), `sophia_engine_host_memory_bytes${engine}`) !== undefined;
    },
    30_000,
  );
  const page = await documented();
  for (const text of [await ofAgent(), await ofScheduler()]) {
    const types = new Map([...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name = '', type = '']) => [name, type]));
    const labels = labelsOf(text, types);
    t.ok(types.size > 40, `${types.size} metrics`);
    for (const [name, type] of types) {
      const row = page.get(name);
      t.match(row, { type, unit: /./, help: /[.\w]/ }, `${name} is on the page`);
      for (const label of labels.get(name) ?? [])
        if (label !== 'le' && label !== 'quantile') t.ok(row?.labels.includes(`\`${label}\``), `${name} has ${label}`);
    }
    t.equal(value(text, `mcp_gpu_utilization${gpu}`), 0);
    t.equal(value(text, `sophia_gpu_utilization_ratio${gpu}`), 0);
    t.equal(value(text, `sophia_gpu_temperature_celsius${gpu}`), 31);
    t.equal(value(text, `sophia_gpu_memory_used_bytes${gpu}`), 61_012 * 1024 ** 2);
    t.equal(value(text, 'sophia_engine_state{node="test-node",engine="sim-a",state="ready"}'), 1);
    t.equal(value(text, 'sophia_engine_state{node="test-node",engine="sim-a",state="failed"}'), 0);
    t.ok((value(text, `sophia_engine_host_memory_bytes${engine}`) ?? 0) > 30e6, 'three processes of Node');
    t.ok((value(text, 'sophia_agent_rss_bytes{node="test-node"}') ?? 0) > 30e6);
    t.equal(value(text, 'sophia_gpu_source{node="test-node",source="nvidia-smi"}'), 1);
  }
  const scheduler = await ofScheduler();
  t.equal(value(scheduler, 'sophia_fleet_engines{state="ready"}'), 1);
  t.equal(value(scheduler, 'sophia_fleet_gpus{health="ok"}'), 2);
  t.equal(value(scheduler, 'sophia_engine_routable{node="test-node",engine="sim-a"}'), 1);
  t.ok((value(scheduler, 'sophia_node_telemetry_age_seconds{node="test-node"}') ?? 99) < 60);
  const agent = await ofAgent();
  t.equal(value(agent, 'sophia_agent_sessions'), 1);
  t.equal(value(agent, 'sophia_agent_telemetry_messages_total{kind="snapshot"}'), 1);
  await fleet.stop();
});
