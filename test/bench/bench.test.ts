/**
 * The benchmarks run as a user runs them, small: that they start, run to their end, name
 * their figures and leave nothing behind. No figure is judged here; that is what the programs are for.
 */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { startChild } from '../support/child.ts';

const BENCH_MAIN = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
t.setTimeout(180_000);

t.test('readers runs its mix to the end and reports memory and speed', async (t) => {
  const args = ['readers', '--requests', '60', '--concurrency', '20', '--tokens', '16'];
  const child = startChild(t, { args: [BENCH_MAIN, ...args] });
  t.match(await child.exited, { code: 0 }, child.stderr());
  t.match(child.stdout(), /beside slow and stalled ones/);
  t.match(child.stdout(), /60 requests, 0 failed/);
});

t.test('micro-relay runs the path of a token without a fleet, and holds nothing without retention', async (t) => {
  const sizes = ['--streams', '4', '--tokens', '130', '--rounds', '2'];
  const child = startChild(t, { args: [BENCH_MAIN, 'micro-relay', '--json', ...sizes] });
  t.match(await child.exited, { code: 0 }, child.stderr());
  const { rows } = JSON.parse(child.stdout().trim().split('\n').at(-1) ?? '') as { rows: Record<string, unknown>[] };
  t.match(rows, [
    { path: 'bare', cpuUsPerToken: Number, retainedMb: 0 },
    { path: 'no retention', cpuUsPerToken: Number, retainedMb: 0 },
    { path: 'retention', cpuUsPerToken: Number },
  ]);
  t.ok((rows[2]?.['retainedMb'] as number) > 0);
});

t.test('a driver that hangs is told of by an alarm', async (t) => {
  const child = startChild(t, { args: [BENCH_MAIN, 'sensor-hang', '--seconds', '8', '--json'] });
  t.match(await child.exited, { code: 0 }, child.stderr());
  const report = JSON.parse(child.stdout().trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
  t.match(report, { seconds: 8, controlLagP99Ms: Number, hungLagP99Ms: Number, staleAlarm: true });
});

t.test('a load that does not exist is refused with the list of those that do', async (t) => {
  const child = startChild(t, { args: [BENCH_MAIN, 'relay', '--loads', '7x7'] });
  t.match(await child.exited, { code: 1 });
  t.match(child.stderr(), /64x50, 256x50, 1000x20, unpaced/);
});

t.test('agent-idle measures an agent and a scheduler, and names what it fed how', async (t) => {
  const sizes = [
    '--gpus',
    '2',
    '--engines',
    '1',
    '--agents',
    '6',
    '--simulated',
    '50',
    '--settle',
    '1',
    '--seconds',
    '1',
  ];
  const child = startChild(t, { args: [BENCH_MAIN, 'agent-idle', '--json', ...sizes] });
  t.match(await child.exited, { code: 0 }, child.stderr());
  const result = JSON.parse(child.stdout().trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
  t.match(result, { schedulerAgents: 6, simulatedAgents: 50, simulatedBy: /in process/, gpus: 2, engines: 1 });
  for (const name of ['corePercent', 'rssMb', 'schedulerCorePercentAt1000', 'sensorRssMb'])
    t.ok(Number.isFinite(result[name]), `${name} is a figure`);
});
