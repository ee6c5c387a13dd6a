/**
 * The benchmarks that start fleets of their own, run as a user runs them, small: that they run to their end, leave nothing
 * behind and find nothing wrong. How fast anything was is not judged here; that is what the programs are for.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { startChild } from '../../support/child.ts';

const BENCH_MAIN = fileURLToPath(new URL('../../../bench/main.js', import.meta.url));
t.setTimeout(600_000);

async function run(t: Test, args: readonly string[]): Promise<Record<string, unknown>> {
  const child = startChild(t, { args: [BENCH_MAIN, ...args, '--json'] });
  t.match(await child.exited, { code: 0 }, `${child.stdout()}\n${child.stderr()}`);
  return JSON.parse(child.stdout().trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
}

t.test('agent-chaos ends with everything as it was wished', async (t) => {
  const report = await run(t, ['agent-chaos', '--faults', '8', '--engines', '3', '--seed', '5']);
  t.match(report, { faults: 8, orphans: 0, leakedFds: 0, wrongEngines: 0, missingEvents: 0, seed: 5, troubles: [] });
  t.match(report, { rssGrowthMb: Number, events: Number, story: /^[0-9a-f]{12}$/ });
});

t.test('death kills started and adopted engines, stops one, and overloads two', async (t) => {
  const report = await run(t, ['death', '--kills', '4', '--stops', '1', '--load-seconds', '3']);
  t.match(report, { kills: 4, stops: 1, falsePositives: 0, p50Ms: Number, p99Ms: Number, stopDetectMs: Number });
});

t.test('agent-restart finds the engines as they were', async (t) => {
  const report = await run(t, ['agent-restart', '--streams', '8', '--rounds', '1']);
  t.match(report, { streams: 8, engineRestarts: 0, failedStreams: 0, serveAgainMs: Number });
});

t.test('readers runs its mix to the end and reports memory and speed', async (t) => {
  const args = ['readers', '--requests', '60', '--concurrency', '20', '--tokens', '16'];
  const child = startChild(t, { args: [BENCH_MAIN, ...args] });
  t.match(await child.exited, { code: 0 }, child.stderr());
  t.match(child.stdout(), /beside slow and stalled ones/);
  t.match(child.stdout(), /60 requests, 0 failed/);
});

t.test('a driver that hangs is told of by an alarm', async (t) => {
  const child = startChild(t, { args: [BENCH_MAIN, 'sensor-hang', '--seconds', '8', '--json'] });
  t.match(await child.exited, { code: 0 }, child.stderr());
  const report = JSON.parse(child.stdout().trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
  t.match(report, { seconds: 8, controlLagP99Ms: Number, hungLagP99Ms: Number, staleAlarm: true });
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

t.test('load puts an open loop on a fleet at both doors, and writes its report', async (t) => {
  const html = path.join(t.testdir(), 'load.html');
  const sizes = ['--rate', '15', '--seconds', '3', '--warm-up', '1', '--output-tokens', '20', '--engines', '1'];
  const report = await run(t, ['load', ...sizes, '--html', html]);
  t.match(report, {
    door: 'http',
    failed: 0,
    unsent: 0,
    goodput: Number,
    ttft: { p50Ms: Number },
    gap: { p99Ms: Number },
  });
  t.equal(report['requests'], report['ok']);
  t.equal((report['ttft'] as { count: number }).count, report['ok']);
  t.match(readFileSync(html, 'utf8'), /<svg[\s\S]*Time to first token[\s\S]*<\/html>/);
  const many = await run(t, ['load', ...sizes, '--door', 'many', '--trace', 'azure', '--speed', '10']);
  t.match(many, { door: 'many', failed: 0, load: /azure/ });
  t.ok((many['requests'] as number) > 0);
});

t.test('compare measures this fleet alone when no router is asked for', async (t) => {
  const report = await run(t, ['compare', '--quick', '--seconds', '0.5', '--routers', 'none', '--parts', 'ttft,hang']);
  t.match(report, { skipped: [], ttft: [{ streams: 1, router: 'sophia' }, { streams: 32 }] });
  t.match(report, { faults: [{ router: 'sophia', fault: 'hang', finished: Number, stuck: Number }] });
});

t.test('models brings a model over two cuts to two hosts, and refuses a wrong byte', async (t) => {
  const report = await run(t, ['models', '--megabytes', '40']);
  t.match(report, { hosts: 2, cuts: 2, checksumOk: true, wrongByteRefused: true, ready: 2, seconds: Number });
  t.equal(report['refetchedBytes'], (report['bytesFetched'] as number) - 2 * (report['bytes'] as number));
});
