/** The benchmarks of the store's faults and of leaders, run as a user runs them, small. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { startChild } from '../../support/child.ts';

const BENCH_MAIN = fileURLToPath(new URL('../../../bench/main.js', import.meta.url));
const QUICK = ['--seconds', '20', '--streams', '8', '--every', '2'];
t.setTimeout(900_000);

async function run(t: Test, args: readonly string[]): Promise<Record<string, unknown>> {
  const child = startChild(t, { args: [BENCH_MAIN, ...args, '--json'] });
  t.match(await child.exited, { code: 0 }, `${child.stdout()}\n${child.stderr()}`);
  return JSON.parse(child.stdout().trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
}

for (const store of ['pg', 'pglite']) {
  t.test(`nothing is lost or done twice on ${store}`, async (t) => {
    const report = await run(t, ['store-faults', '--store', store, ...QUICK]);
    t.match(report, {
      lostAcks: 0,
      doubleEffects: 0,
      failedStreams: 0,
      outOfOrder: 0,
      wrongState: 0,
      auditFindings: 0,
    });
    t.ok(Number(report['acknowledged']) > 0 && Number(report['faults']) >= 3);
  });
}

for (const more of [[], ['--pgbouncer']]) {
  t.test(`an old leader is refused ${more.join('')}`, async (t) => {
    const report = await run(t, ['leaders', '--rounds', '1', '--lease-ms', '2000', ...more]);
    t.match(report, { kills: 1, pauses: 1, fencedAppends: 2, staleOrdersRefused: 4, doubleStarts: 0 });
  });
}

t.test('no disk is left behind', async (t) => {
  t.notMatch(readFileSync('/proc/mounts', 'utf8'), /^sophia-store-faults /m);
});
