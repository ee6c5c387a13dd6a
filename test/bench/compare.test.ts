/**
 * The parts of `bench -- compare` that judge: whose CPU is counted, what became of a stream, who was stuck, which goal
 * was met. The routers themselves run in a lane of their own.
 */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { costRow } from '../../bench/compare/cost.ts';
import { FaultBook } from '../../bench/compare/fault_clients.ts';
import { judgeGoals } from '../../bench/compare/goals.ts';
import { printCompare } from '../../bench/compare/print.ts';
import { treeMeter, treeOf } from '../../bench/compare/process_tree.ts';
import { comparePage } from '../../bench/compare/report.ts';
import { DEFAULT_ROUTERS, ROUTERS } from '../../bench/compare/routers.ts';
import { FAST, FULL, PARTS, stepsOf } from '../../bench/compare/scale.ts';
import { startChild } from '../support/child.ts';

const BENCH_MAIN = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
t.setTimeout(120_000);

async function waitUntil(what: () => boolean): Promise<void> {
  for (let i = 0; i < 600 && !what(); i++) await sleep(50);
}

t.test('a router costs what its children cost too, those that have ended included', async (t) => {
  // A shell that starts one child which ends and one that goes on; both burn CPU.
  const burn = 'while (process.cpuUsage().user < 400000);';
  const script = `node -e "${burn}"; node -e "${burn} setInterval(() => {}, 1000)" & wait`;
  const shell = spawn('/bin/sh', ['-c', script], { stdio: 'ignore', detached: true });
  t.teardown(() => process.kill(-(shell.pid as number), 'SIGKILL'));
  const meter = treeMeter(shell.pid as number);
  await waitUntil(() => meter.cpuUs() > 500_000);
  t.ok(meter.cpuUs() > 500_000, `${meter.cpuUs()} us: more than one of the two children can have used`);
  await waitUntil(() => treeOf(shell.pid as number).length === 2);
  t.equal(treeOf(shell.pid as number).length, 2);
  t.ok(meter.rssBytes() > 20_000_000, 'the memory of the living child counts');
  t.same(
    treeOf(shell.pid as number, () => false),
    [shell.pid],
    'a tree may leave branches out',
  );
  t.same(treeOf(2 ** 22), [], 'a process that is not there has no tree');
  t.equal(treeMeter(2 ** 22).cpuUs(), 0);
});

const END = { intendedMs: 0, sentMs: 0, endMs: 100 };

t.test('a stream that broke or ended short is cut, one that never began is refused', async (t) => {
  const book = new FaultBook(100);
  const sink = book.sink(0);
  sink.end({ ...END, firstMs: 10, code: 'ok', tokens: 100 });
  sink.end({ ...END, firstMs: 10, code: 'ok', tokens: 99 });
  sink.end({ ...END, firstMs: 10, code: 'cut', tokens: 50 });
  sink.end({ ...END, code: 'http_503', tokens: 0 });
  t.match(book.figures(), { finished: 1, cut: 2, refused: 1, codes: { short: 1, cut: 1, http_503: 1 } });
});

t.test('a client is stuck when it waits over 5 s, before its first token or between two', async (t) => {
  const book = new FaultBook(100);
  const [first, between, patient] = [book.sink(0), book.sink(1), book.sink(2)];
  book.asked(0, 0);
  book.asked(1, 0);
  book.asked(2, 0);
  between.arrived(1, 100);
  patient.arrived(1, 4900);
  patient.arrived(1, 9700, 4800);
  book.look(5050);
  t.equal(book.figures().stuck, 1, 'the one that has no token yet');
  between.arrived(1, 5200, 5100);
  first.end({ ...END, endMs: 9000, code: 'timeout', tokens: 0 });
  patient.end({ ...END, firstMs: 4900, endMs: 9800, code: 'ok', tokens: 100 });
  book.look(60_000);
  const figures = book.figures();
  t.equal(figures.stuck, 2, 'a client that has nothing open cannot be stuck');
  t.equal(figures.longestWaitMs, 54_800, 'a wait that has not ended counts');
});

const cell = (scheduler: number, agent: number) => ({
  tokens: 9000,
  seconds: 4.5,
  cpuUsPerToken: { scheduler, agent },
  rssMb: { scheduler: 100, agent: 50 },
  failed: 1,
  gapP99Ms: 30,
});

t.test('the rounds of a load come to their median, and show their spread', async (t) => {
  const row = costRow('256x50', 'sophia', [cell(10, 20), cell(12, 18), cell(99, 99)]);
  t.match(row, { cpuUsPerToken: { scheduler: 12, agent: 20 }, totalUsPerToken: 30, tokensPerS: 2000, failed: 3 });
  t.same(row.rounds, [30, 30, 198]);
  const unknown = costRow('256x50', 'x', [{ ...cell(1, 1), cpuUsPerToken: {}, rssMb: {} }]);
  t.same([unknown.totalUsPerToken, unknown.cpuUsPerToken], [Number.NaN, {}]);
});

function results() {
  const row = (load: string, router: string, scheduler: number, agent: number) =>
    costRow(load, router, [cell(scheduler, agent)]);
  const router = (load: string, name: string, us: number) =>
    costRow(load, name, [{ ...cell(0, 0), cpuUsPerToken: { router: us }, rssMb: { router: 60 } }]);
  const fault = {
    router: 'sophia',
    engines: 2,
    faults: 9,
    finished: 600,
    cut: 0,
    refused: 0,
    stuck: 3,
    gapP99Ms: 40,
    longestWaitMs: 6000,
    codes: {},
  };
  return {
    cost: [
      row('256x50', 'sophia', 15, 10),
      row('256x50', 'sophia, GenerateMany', 7, 10),
      router('256x50', 'nginx', 12),
      router('256x50', 'smg', 23),
      router('256x50', 'vllm-router', 18),
    ],
    ttft: [{ streams: 1, router: 'sophia', p50Ms: 6, p99Ms: 8, addedP50Ms: 0.5, addedP99Ms: 3.5, requests: 9 }],
    plain: [],
    faults: [
      { ...fault, fault: 'kill' as const },
      { ...fault, fault: 'hang' as const },
    ],
  };
}

t.test('goals are judged by what was measured, and those without a figure are neither met nor missed', async (t) => {
  const verdict = (word: string) => judgeGoals(results()).find(({ goal }) => goal.includes(word));
  t.match(verdict('no coalescing'), { figure: 15, bound: 16.2, met: true });
  t.match(verdict('GenerateMany, 256x50'), { figure: 7, bound: 6, met: false });
  t.match(verdict('agent, HTTP, 256x50'), { figure: 25, bound: 23, met: false });
  t.match(verdict('p50 < 0.7'), { met: true });
  t.match(verdict('p99 < 3'), { met: false });
  t.match(verdict('cut by kills'), { figure: 0, met: true });
  t.match(verdict('stuck'), { figure: 3, met: false });
  t.notOk('met' in (verdict('1000x20') ?? {}));
  t.notOk('met' in (verdict('requests/s of one token > smg') ?? {}));
});

t.test('a comparison is printed and drawn with who could not take part, and why', async (t) => {
  const measured = results();
  const report = {
    machine: { cores: 2, cpu: 'a <cpu>', node: 'v20' },
    routers: [{ name: 'sophia', version: '1', policy: 'its default' }],
    skipped: [{ name: 'litellm', reason: 'the <index> is away' }],
    ...measured,
    goals: judgeGoals(measured),
  };
  const text = printCompare(report);
  t.match(text, /litellm: could not run, because the <index> is away/);
  t.match(text, /256x50 +sophia, GenerateMany +7 +10 +17/);
  t.match(text, /MISSED/);
  t.match(text, /hang +sophia +2 +9 +600 +0 +0 +3/);
  const html = comparePage(report);
  t.match(html, /the &lt;index&gt; is away/);
  t.match(html, /<svg[\s\S]*vllm-router/);
  t.notMatch(html, /<index>|<cpu>|NaN/);
});

t.test('every router is told of every engine, and of nothing outside this machine', async (t) => {
  const place = { port: 1000, metricsPort: 1001, folder: '/f', enginePorts: [2000, 2001], model: 'm' };
  for (const [name, kind] of Object.entries(ROUTERS)) {
    const launch = kind.launch(place);
    const words = [...launch.args, ...Object.values(launch.files ?? {})].join(' ');
    for (const port of [1000, 2000, 2001]) t.match(words, new RegExp(`127\\.0\\.0\\.1:${port}|port ${port}`), name);
    t.notMatch(words.replaceAll(/http:\/\/(127\.0\.0\.1|engines)/g, ''), /https?:|0\.0\.0\.0/, name);
  }
  for (const name of DEFAULT_ROUTERS) t.ok(name in ROUTERS);
});

t.test('the steps of a run are known before it', async (t) => {
  t.equal(stepsOf(FAST, PARTS, 0), 4 * 3 + 2 * 2 + 1 + 2);
  t.equal(stepsOf({ ...FULL, faultEngines: [2, 8] }, ['kill'], 4), 10);
});

t.test('a command line that means nothing is refused in a sentence', async (t) => {
  const cases: readonly (readonly [args: readonly string[], words: RegExp])[] = [
    [['compare', '--routers', 'haproxy'], /"haproxy" is none of nginx/],
    [['compare', '--url', 'mine'], /NAME=URL/],
    [['compare', '--url', 'mine=ftp://x'], /NAME=URL/],
    [['compare', '--parts', 'all'], /"all" is none of cost/],
    [['load', '--rate', '0'], /from 0.01/],
    [['load', '--url', 'nowhere'], /invalid_value: "nowhere" is no URL/],
    [['load', '--trace', '/not/there'], /invalid_value: The trace/],
  ];
  for (const [args, words] of cases) {
    const child = startChild(t, { args: [BENCH_MAIN, ...args] });
    t.match(await child.exited, { code: 1 }, args.join(' '));
    t.match(child.stderr(), words);
  }
});
