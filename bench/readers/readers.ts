/**
 * `npm run bench -- readers`: clients that read slowly, or not at all, beside normal ones. The figures are the memory of
 * scheduler and agent over the run, and how long normal streams took beside the bad ones against a control run without.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BENCH_MODEL, type BenchFleet, startBenchFleet } from '../bench_fleet.ts';
import { streamOnce } from '../clients/http_stream.ts';
import { openMany } from '../clients/many.ts';
import { quantile, round, rssBytes } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';

export interface ReadersOptions {
  readonly json?: true;
  readonly requests: number;
  readonly concurrency: number;
  readonly tokens: number;
}

type Reader = 'normal' | 'slow' | 'stalled';

/** One in five reads slowly, one in ten not at all. */
const MIX: readonly Reader[] = [
  'normal',
  'slow',
  'normal',
  'normal',
  'stalled',
  'normal',
  'normal',
  'slow',
  'normal',
  'normal',
];
const SLOW_PAUSE_MS = 300;
const STALL_MS = 4000;
const SAMPLE_MS = 500;
const ITL_MS = 10;
/** Small, so that an answer exceeds it and a reader that does not read is felt all the way back to the engine. */
const CLIENT_WINDOW_BYTES = 8192;

interface Phase {
  readonly totalMs: Readonly<Record<Reader, number[]>>;
  readonly failed: number;
  readonly schedulerRssMb: readonly number[];
  readonly agentRssMb: readonly number[];
}

export interface ReadersReport {
  readonly requests: number;
  readonly failed: number;
  readonly normalP50Ms: number;
  readonly normalP99Ms: number;
  readonly controlP50Ms: number;
  readonly controlP99Ms: number;
  /** Highest sample of the last quarter over that of the second quarter, so that warm-up is not growth. */
  readonly schedulerRssGrowthMb: number;
  readonly agentRssGrowthMb: number;
  readonly schedulerRssPeakMb: number;
  readonly agentRssPeakMb: number;
}

export async function runReaders(options: ReadersOptions): Promise<void> {
  const fleet = await startBenchFleet({
    engines: 2,
    simFlags: ['--max-num-seqs', '1024', '--sim-itl-ms', String(ITL_MS)],
    scheduler: { clientWindowBytes: CLIENT_WINDOW_BYTES },
  });
  try {
    process.stderr.write('control run: normal readers only\n');
    const normalShare = MIX.filter((kind) => kind === 'normal').length / MIX.length;
    const control = await runPhase(
      fleet,
      { ...options, requests: Math.round(options.requests / 4) },
      () => 'normal',
      normalShare,
    );
    process.stderr.write('mixed run\n');
    const mixed = await runPhase(fleet, options, (index) => MIX[index % MIX.length] as Reader, 1);
    const report = summarise(options.requests, control, mixed);
    process.stdout.write(`${options.json === true ? JSON.stringify(report) : print(report)}\n`);
  } finally {
    await fleet.stop();
  }
}

/** @param share of the concurrency to use: the control run has as many normal readers at a time as the mixed one */
async function runPhase(
  fleet: BenchFleet,
  options: ReadersOptions,
  kindOf: (index: number) => Reader,
  share: number,
): Promise<Phase> {
  const body = JSON.stringify({
    model: BENCH_MODEL,
    prompt: 'Tell me a story.',
    stream: true,
    max_tokens: options.tokens,
    ignore_eos: true,
  });
  const many = openMany(fleet.grpcAddress, fleet.key);
  const totalMs: Record<Reader, number[]> = { normal: [], slow: [], stalled: [] };
  const schedulerRssMb: number[] = [];
  const agentRssMb: number[] = [];
  let failed = 0;
  let next = 0;
  const loop = async (): Promise<void> => {
    while (next < options.requests) {
      const index = next++;
      const kind = kindOf(index);
      const overHttp = Math.floor(index / MIX.length) % 2 === 0;
      const outcome = overHttp ? await httpRequest(fleet, body, kind) : await manyRequest(many, body, kind);
      if (outcome.ok) totalMs[kind].push(outcome.totalMs);
      else if (kind !== 'stalled') failed++;
    }
  };
  let sampling = true;
  const sampler = (async () => {
    while (sampling) {
      schedulerRssMb.push(rssBytes(fleet.scheduler.pid) / 1e6);
      agentRssMb.push(rssBytes(fleet.agent.pid) / 1e6);
      await sleep(SAMPLE_MS);
    }
  })();
  await Promise.all(Array.from({ length: Math.round(options.concurrency * share) }, loop));
  sampling = false;
  await sampler;
  many.close();
  return { totalMs, failed, schedulerRssMb, agentRssMb };
}

async function httpRequest(fleet: BenchFleet, body: string, kind: Reader): Promise<{ ok: boolean; totalMs: number }> {
  return streamOnce(
    { host: '127.0.0.1', port: fleet.httpPort },
    { path: '/v1/completions', host: 'bench', body, key: fleet.key },
    {
      onSocket(socket) {
        if (kind === 'normal') return;
        socket.pause();
        if (kind === 'stalled') {
          setTimeout(() => socket.destroy(), STALL_MS).unref();
          return;
        }
        const timer = setInterval(() => {
          socket.resume();
          setImmediate(() => socket.pause());
        }, SLOW_PAUSE_MS);
        socket.once('close', () => clearInterval(timer));
      },
    },
  );
}

async function manyRequest(
  many: ReturnType<typeof openMany>,
  body: string,
  kind: Reader,
): Promise<{ ok: boolean; totalMs: number }> {
  const grantDelayMs = { normal: 0, slow: SLOW_PAUSE_MS, stalled: Infinity }[kind];
  const running = many.run({ body, endpoint: 'ENDPOINT_COMPLETIONS', creditBytes: CLIENT_WINDOW_BYTES, grantDelayMs });
  const timer = kind === 'stalled' ? setTimeout(() => running.cancel(), STALL_MS) : undefined;
  const outcome = await running.done;
  clearTimeout(timer);
  return outcome;
}

function growth(samples: readonly number[]): number {
  const quarter = Math.floor(samples.length / 4);
  return Math.max(...samples.slice(quarter * 3)) - Math.max(...samples.slice(quarter, quarter * 2));
}

function summarise(requests: number, control: Phase, mixed: Phase): ReadersReport {
  return {
    requests,
    failed: mixed.failed + control.failed,
    normalP50Ms: round(quantile(mixed.totalMs.normal, 0.5)),
    normalP99Ms: round(quantile(mixed.totalMs.normal, 0.99)),
    controlP50Ms: round(quantile(control.totalMs.normal, 0.5)),
    controlP99Ms: round(quantile(control.totalMs.normal, 0.99)),
    schedulerRssGrowthMb: round(growth(mixed.schedulerRssMb)),
    agentRssGrowthMb: round(growth(mixed.agentRssMb)),
    schedulerRssPeakMb: round(Math.max(...mixed.schedulerRssMb)),
    agentRssPeakMb: round(Math.max(...mixed.agentRssMb)),
  };
}

function print(report: ReadersReport): string {
  return alignRows([
    ['', '', 'p50 ms', 'p99 ms'],
    ['normal readers', 'beside slow and stalled ones', report.normalP50Ms, report.normalP99Ms],
    ['normal readers', 'alone', report.controlP50Ms, report.controlP99Ms],
  ]).concat(
    '\n\n',
    alignRows([
      ['memory MB', '', 'peak', 'growth'],
      ['scheduler', '', report.schedulerRssPeakMb, report.schedulerRssGrowthMb],
      ['agent', '', report.agentRssPeakMb, report.agentRssGrowthMb],
    ]),
    `\n\n${report.requests} requests, ${report.failed} failed (stalled readers give up by themselves and do not count)`,
  );
}
