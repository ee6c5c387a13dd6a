/**
 * `npm run bench -- relay`: what a token costs on its way. The same simulated engines serve four routes in one run: this
 * fleet over HTTP, this fleet over GenerateMany, one gRPC stream per request, and a plain Node reverse proxy.
 */
import { fileURLToPath } from 'node:url';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Child, startChild } from '../../lib/io/child.ts';
import { BENCH_MODEL, type BenchFleet, startBenchFleet } from '../bench_fleet.ts';
import type { StreamRequest } from '../clients/http_stream.ts';
import { benchEnvironment } from '../config.ts';
import { round } from '../process_stats.ts';
import { type Cell, httpDriver, type LoadDriver, manyDriver, measureCell, measureTtft, p50p99 } from './cells.ts';
import { printRelay } from './print.ts';

export interface Load {
  readonly name: string;
  readonly streams: number;
  /** Milliseconds between tokens; 0: as fast as the engine can. */
  readonly itlMs: number;
  readonly tokensPerRequest: number;
}

/** The loads of docs/SLO.md: streams x tokens per second and stream. */
export const LOADS: readonly Load[] = [
  { name: '64x50', streams: 64, itlMs: 20, tokensPerRequest: 250 },
  { name: '256x50', streams: 256, itlMs: 20, tokensPerRequest: 250 },
  { name: '1000x20', streams: 1000, itlMs: 50, tokensPerRequest: 200 },
  { name: 'unpaced', streams: 64, itlMs: 0, tokensPerRequest: 1000 },
];

const ENGINES = 2;
const CLIENT_WINDOW_BYTES = 1 << 20;
const STOP_MS = 5000;
const TTFT_STREAMS = [1, 32];
const TTFT_ITL_MS = 5;

export interface RelayOptions {
  readonly json?: true;
  readonly seconds: number;
  readonly loads: readonly string[];
  readonly ttftRequests: number;
}

export interface RelayRow extends Cell {
  readonly load: string;
  readonly route: string;
  readonly tokensPerSecond: number;
  /** All processes of the route together. */
  readonly totalCpuUsPerToken: number;
}

export interface TtftRow {
  readonly streams: number;
  readonly route: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly addedP50Ms: number;
  readonly addedP99Ms: number;
}

export interface RelayReport {
  readonly rows: readonly RelayRow[];
  readonly ttft: readonly TtftRow[];
}

export async function runRelay(options: RelayOptions): Promise<void> {
  const rows: RelayRow[] = [];
  for (const load of LOADS.filter((entry) => options.loads.includes(entry.name))) {
    process.stderr.write(`load ${load.name}\n`);
    rows.push(...(await measureLoad(load, options.seconds)));
  }
  process.stderr.write('time to first token\n');
  const ttft = await measureAddedTtft(options.ttftRequests);
  const report: RelayReport = { rows, ttft };
  process.stdout.write(`${options.json === true ? JSON.stringify(report) : printRelay(report)}\n`);
}

function requestBody(tokens: number): string {
  return JSON.stringify({
    model: BENCH_MODEL,
    prompt: 'Say something about the weather, at some length.',
    stream: true,
    max_tokens: tokens,
    ignore_eos: true,
    temperature: 0,
  });
}

const simFlags = (load: Pick<Load, 'itlMs'>): string[] => [
  '--max-num-seqs',
  '1024',
  ...(load.itlMs === 0 ? ['--sim-unpaced'] : ['--sim-itl-ms', String(load.itlMs)]),
];

interface Route {
  readonly name: string;
  readonly processes: Readonly<Record<string, number>>;
  driver(): LoadDriver;
}

async function measureLoad(load: Load, seconds: number): Promise<RelayRow[]> {
  const fleet = await startBenchFleet({ engines: ENGINES, simFlags: simFlags(load) });
  const baselines = await startBaselines(fleet.engineSockets);
  try {
    const rows: RelayRow[] = [];
    for (const route of routes(fleet, baselines, requestBody(load.tokensPerRequest))) {
      const cell = await measureCell(route.driver(), load.streams, seconds, route.processes);
      const cpuUsPerToken = Object.fromEntries(
        Object.entries(cell.cpuUsPerToken).map(([name, us]) => [name, round(us)]),
      );
      const total = Object.values(cell.cpuUsPerToken).reduce((sum, us) => sum + us, 0);
      rows.push({
        ...cell,
        cpuUsPerToken,
        load: load.name,
        route: route.name,
        tokensPerSecond: Math.round(cell.tokens / cell.seconds),
        totalCpuUsPerToken: round(total),
      });
      process.stderr.write(
        `  ${route.name}: ${round(total)} us/token, ${Math.round(cell.tokens / cell.seconds)} tokens/s\n`,
      );
    }
    return rows;
  } finally {
    for (const child of baselines.children) await child.stop(STOP_MS);
    await fleet.stop();
  }
}

function routes(fleet: BenchFleet, baselines: Baselines, body: string): Route[] {
  const ours = { scheduler: fleet.scheduler.pid, agent: fleet.agent.pid };
  const request = (key?: string): StreamRequest => ({
    path: '/v1/completions',
    host: 'bench',
    body,
    ...(key === undefined ? {} : { key }),
  });
  const http = (port: number, key?: string) => (): LoadDriver => httpDriver({ host: '127.0.0.1', port }, request(key));
  return [
    { name: 'fleet, HTTP', processes: ours, driver: http(fleet.httpPort, fleet.key) },
    { name: 'fleet, GenerateMany', processes: ours, driver: () => manyDriver(fleet.grpcAddress, fleet.key, body) },
    { name: 'gRPC stream per request', processes: baselines.grpcPids, driver: http(baselines.grpcPort) },
    { name: 'plain Node proxy', processes: baselines.proxyPids, driver: http(baselines.proxyPort) },
  ];
}

interface Baselines {
  readonly children: readonly Child[];
  readonly grpcPids: Readonly<Record<string, number>>;
  readonly grpcPort: number;
  readonly proxyPids: Readonly<Record<string, number>>;
  readonly proxyPort: number;
}

async function startBaselines(sockets: readonly string[]): Promise<Baselines> {
  const children: Child[] = [];
  const start = async (name: string, args: readonly string[]): Promise<{ child: Child; port: number }> => {
    const main = fileURLToPath(new URL(`../baselines/${name}.js`, import.meta.url));
    const child = startChild(
      name,
      main,
      args,
      path.join(tmpdir(), `sophia-bench-${process.pid}-${name}.log`),
      benchEnvironment(),
    );
    children.push(child);
    return { child, port: (await child.ready)['port'] as number };
  };
  const proxy = await start('plain_proxy', sockets);
  const agent = await start('grpc_agent', sockets);
  const front = await start('grpc_front', [String(agent.port)]);
  return {
    children,
    grpcPids: { scheduler: front.child.pid, agent: agent.child.pid },
    grpcPort: front.port,
    proxyPids: { proxy: proxy.child.pid },
    proxyPort: proxy.port,
  };
}

/** The engine asked directly, then through each route; what a route adds is the difference of the quantiles. */
async function measureAddedTtft(requests: number): Promise<TtftRow[]> {
  const fleet = await startBenchFleet({
    engines: 1,
    simFlags: simFlags({ itlMs: TTFT_ITL_MS }),
    scheduler: { clientWindowBytes: CLIENT_WINDOW_BYTES },
  });
  const baselines = await startBaselines(fleet.engineSockets);
  try {
    const body = requestBody(20);
    const request: StreamRequest = { path: '/v1/completions', host: 'bench', body };
    const ways = [
      { name: 'engine itself', target: { path: fleet.engineSockets[0] as string }, request },
      {
        name: 'fleet, HTTP',
        target: { host: '127.0.0.1', port: fleet.httpPort },
        request: { ...request, key: fleet.key },
      },
      { name: 'gRPC stream per request', target: { host: '127.0.0.1', port: baselines.grpcPort }, request },
      { name: 'plain Node proxy', target: { host: '127.0.0.1', port: baselines.proxyPort }, request },
    ];
    const rows: TtftRow[] = [];
    for (const streams of TTFT_STREAMS) {
      let direct = { p50: 0, p99: 0 };
      for (const way of ways) {
        // One round first, so that no figure holds a first connection or cold code.
        await measureTtft(way.target, way.request, streams, streams * 4);
        const times = p50p99(await measureTtft(way.target, way.request, streams, requests * (streams === 1 ? 1 : 4)));
        if (way.name === 'engine itself') direct = times;
        rows.push({
          streams,
          route: way.name,
          p50Ms: round(times.p50),
          p99Ms: round(times.p99),
          addedP50Ms: round(times.p50 - direct.p50),
          addedP99Ms: round(times.p99 - direct.p99),
        });
      }
    }
    return rows;
  } finally {
    for (const child of baselines.children) await child.stop(STOP_MS);
    await fleet.stop();
  }
}
