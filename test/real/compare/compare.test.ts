/**
 * The comparison with the real foreign routers, short: that each of them starts, serves and is measured. Its figures are
 * rough and none is judged here.
 */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { startChild } from '../../support/child.ts';

const BENCH_MAIN = fileURLToPath(new URL('../../../bench/main.js', import.meta.url));
const ROUTERS = ['nginx', 'smg', 'vllm-router', 'litellm'];
t.setTimeout(1_200_000);

interface Row {
  readonly router: string;
  readonly load?: string;
  readonly totalUsPerToken?: number;
  readonly finished?: number;
}

t.test('every router takes part, and its whole tree of processes is measured', async (t) => {
  const child = startChild(t, { args: [BENCH_MAIN, 'compare', '--quick', '--json'] });
  t.match(await child.exited, { code: 0 }, child.stderr());
  const report = JSON.parse(child.stdout().trim().split('\n').at(-1) ?? '') as {
    readonly skipped: readonly unknown[];
    readonly routers: readonly { readonly name: string; readonly version: string }[];
    readonly cost: readonly Row[];
    readonly faults: readonly Row[];
  };
  t.same(report.skipped, []);
  for (const name of ROUTERS) {
    t.ok(report.routers.find((router) => router.name === name)?.version, `the version of ${name}`);
    const row = report.cost.find(({ router, load }) => router === name && load === '64x50');
    t.ok((row?.totalUsPerToken ?? 0) > 0, `${name} used CPU`);
  }
  for (const name of ['sophia', ...ROUTERS.slice(0, 3)])
    t.ok((report.faults.find(({ router }) => router === name)?.finished ?? 0) > 0, `${name} finished streams`);
});
