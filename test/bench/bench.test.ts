/**
 * The benchmarks that need no fleet, run as a user runs them, small: that they start, run to their end, name
 * their figures and leave nothing behind. No figure is judged here; that is what the programs are for.
 */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { startChild } from '../support/child.ts';

const BENCH_MAIN = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
t.setTimeout(180_000);

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

t.test('a load that does not exist is refused with the list of those that do', async (t) => {
  const child = startChild(t, { args: [BENCH_MAIN, 'relay', '--loads', '7x7'] });
  t.match(await child.exited, { code: 1 });
  t.match(child.stderr(), /64x50, 256x50, 1000x20, unpaced/);
});
