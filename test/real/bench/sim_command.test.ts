/** The simulator's command line as a user meets it, and the published orders on small runs of it. */
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { startChild } from '../../support/child.ts';

const BENCH_MAIN = fileURLToPath(new URL('../../../bench/main.js', import.meta.url));
t.setTimeout(300_000);

interface Row {
  readonly policy: string;
  readonly load: number;
  readonly scaling: string;
  readonly ttftMeanS: number;
  readonly hitRate: number;
  readonly [figure: string]: unknown;
}

interface Report {
  readonly rows: readonly Row[];
  readonly standings: readonly { readonly figure: string; readonly verdict: string }[];
}

async function simulate(t: Test, args: readonly string[]): Promise<Report> {
  const child = startChild(t, { args: [BENCH_MAIN, 'sim', '--json', ...args] });
  t.match(await child.exited, { code: 0 }, child.stderr());
  return JSON.parse(child.stdout().trim().split('\n').at(-1) ?? '') as Report;
}

t.test('Mooncake: random is worst, then least load, then local cache aware; global is best', async (t) => {
  const policies = ['random', 'least_requests', 'mooncake_local', 'mooncake_global'];
  const args = ['--policy', policies.join(','), '--load', '0.85', '--instances', '8', '--requests', '5000'];
  const { rows } = await simulate(t, args);
  const byTtft = rows.toSorted((left, right) => right.ttftMeanS - left.ttftMeanS).map(({ policy }) => policy);
  t.same(byTtft, policies);
});

t.test('llm-d: load alone is about as bad as random, a prefix-aware policy far better', async (t) => {
  const args = ['--trace', 'llmd', '--policy', 'cost,cost_approximate,least_requests,random', '--load', '0.95'];
  const { rows, standings } = await simulate(t, args);
  const ttft = Object.fromEntries(rows.map(({ policy, ttftMeanS }) => [policy, ttftMeanS]));
  t.match(rows[0], {
    policy: String,
    load: 0.95,
    ttftP50S: Number,
    ttftP90S: Number,
    ttftP99S: Number,
    tpotMs: Number,
    outTokS: Number,
    goodput: Number,
    imbalance: Number,
    refused: 0,
  });
  t.ok((ttft['cost'] ?? 9) * 20 < (ttft['least_requests'] ?? 0));
  t.ok((ttft['random'] ?? 9) < 2 * (ttft['least_requests'] ?? 0));
  t.same(new Set(standings.map(({ verdict }) => verdict)), new Set(['better']));
});

t.test('seeds, sensitivity, faults and engines are as asked for', async (t) => {
  const small = ['--trace', 'azure', '--requests', '400', '--policy', 'cost,least_requests', '--load', '0.5,0.9'];
  const { rows } = await simulate(t, [
    ...small,
    '--seeds',
    '2',
    '--sensitivity',
    '--instances',
    '2',
    '--faults',
    'kill:1@3',
  ]);
  t.equal(rows.length, 2 * 2 * 7);
  t.equal(new Set(rows.map(({ scaling }) => scaling)).size, 7);
  t.match(rows[0], { seeds: 2, plusMinus: { ttftMeanS: Number }, moved: Number });
});

t.test('what is wrong on the command line is said in a line', async (t) => {
  const wrong: readonly (readonly [args: readonly string[], problem: RegExp])[] = [
    [['--policy', 'magic'], /"magic" is no policy; there are cost/],
    [['--trace', '/no/such/trace'], /cannot be read/],
    [['--load', '0,1'], /above 0/],
    [['--row', 'abacus'], /Allowed choices are/],
    [['--faults', 'kill:99@1'], /engines 0 to 15/],
    [['--seeds', '1.5'], /whole number/],
  ];
  for (const [args, problem] of wrong) {
    const child = startChild(t, { args: [BENCH_MAIN, 'sim', ...args] });
    t.match(await child.exited, { code: 1 }, args.join(' '));
    t.match(child.stderr(), problem);
    t.notMatch(child.stderr(), /\n\s+at /, 'no stack');
  }
});
