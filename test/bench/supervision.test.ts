/**
 * The benchmarks of supervision, small: that a storm, a death and an agent's restart run to their end, leave nothing
 * behind and find nothing wrong. How fast anything was is not judged here.
 */
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { drawStory, FAULTS, storyHash } from '../../bench/chaos/story.ts';
import type { EnginePlan } from '../../bench/supervised/fleet.ts';
import { startChild } from '../support/child.ts';

const BENCH_MAIN = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
t.setTimeout(600_000);

const engines: readonly EnginePlan[] = [
  { name: 'a', kind: 'sim', model: 'sim', flags: [] },
  { name: 'b', kind: 'sim', model: 'sim', flags: [], tcpPort: 1234 },
  { name: 'c', kind: 'llama', model: 'sim', flags: [] },
];

t.test('the same seed tells the same story, with every kind of fault in it', async (t) => {
  const tell = (seed: number) => drawStory({ seed, faults: 300, engines, smallDisk: true, everyMs: 100 });
  t.equal(storyHash(tell(1)), storyHash(tell(1)));
  t.not(storyHash(tell(1)), storyHash(tell(2)));
  t.same(new Set(tell(1).map(({ kind }) => kind)), new Set(Object.keys(FAULTS)));
  const lastKill = tell(1).findLastIndex(({ kind }) => kind === 'kill_agent');
  t.ok(lastKill < 150, 'the second half is one life of the agent');
  for (const { kind, engine } of tell(3)) {
    if (kind === 'take_port') t.equal(engine, 'b');
    if (kind === 'take_socket') t.not(engine, 'b');
    if (kind.includes('core') || kind.includes('worker')) t.not(engine, 'c', 'an engine of one process has none');
  }
});

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
  t.match(report, { streams: 8, engineRestarts: 0, serveAgainMs: Number });
});
