/**
 * `npm run bench -- relay`: what a token costs on its way. The same simulated engines serve five routes in one run: this
 * fleet over HTTP, at once and with coalescing, this fleet over GenerateMany, one gRPC stream per request, and a plain
 * Node reverse proxy. Coalescing is a setting of the process, so that route has a fleet of its own.
 */
import type { NetConnectOpts } from 'node:net';
import { fileURLToPath } from 'node:url';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Child, startChild } from '../../lib/io/child.ts';
import { BENCH_MODEL, type BenchFleet, startBenchFleet } from '../bench_fleet.ts';
import type { StreamRequest } from '../clients/http_stream.ts';
import { benchEnvironment } from '../config.ts';
import { round } from '../process_stats.ts';
import {
  type Cell,
  httpDriver,
  type LoadDriver,
  manyDriver,
  measureCell,
  measureTtft,
  type Meter,
  p50p99,
  processMeter,
  warmUp,
} from './cells.ts';
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
const WARM_UP_TOKENS = 2;
const COALESCE_MS = 40;
const TTFT_STREAMS = [1, 32];
const TTFT_ITL_MS = 5;
/** Enough that 32 streams are mostly in the middle of their answers: else the rate of requests is what is measured. */
const TTFT_TOKENS = { 1: 5, 32: 100 } as const;
/** The ways take turns, so that what else the machine does meets all of them. */
const TTFT_ROUNDS = 8;

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
  readonly meters: Readonly<Record<string, Meter>>;
  /** A driver of requests for `tokens` tokens. */
  driver(tokens: number): LoadDriver;
}

async function measureLoad(load: Load, seconds: number): Promise<RelayRow[]> {
  const fleet = await startBenchFleet({ engines: ENGINES, simFlags: simFlags(load) });
  const baselines = await startBaselines(fleet.engineSockets);
  const rows: RelayRow[] = [];
  try {
    for (const route of routes(fleet, baselines)) rows.push(await measureRoute(route, load, seconds));
  } finally {
    for (const child of baselines.children) await child.stop(STOP_MS);
    await fleet.stop();
  }
  const coalescing = await startBenchFleet({
    engines: ENGINES,
    simFlags: simFlags(load),
    scheduler: { coalesceMs: COALESCE_MS },
  });
  try {
    const route = { ...httpRoute(coalescing), name: `fleet, HTTP, ${COALESCE_MS} ms coalescing` };
    rows.splice(1, 0, await measureRoute(route, load, seconds));
  } finally {
    await coalescing.stop();
  }
  return rows;
}

async function measureRoute(route: Route, load: Load, seconds: number): Promise<RelayRow> {
  await warmUp(route.driver(WARM_UP_TOKENS));
  const cell = await measureCell(route.driver(load.tokensPerRequest), load.streams, seconds, route.meters);
  const total = Object.values(cell.cpuUsPerToken).reduce((sum, us) => sum + us, 0);
  const tokensPerSecond = Math.round(cell.tokens / cell.seconds);
  process.stderr.write(`  ${route.name}: ${round(total)} us/token, ${tokensPerSecond} tokens/s\n`);
  return {
    ...cell,
    cpuUsPerToken: Object.fromEntries(Object.entries(cell.cpuUsPerToken).map(([name, us]) => [name, round(us)])),
    gapP99Ms: round(cell.gapP99Ms),
    load: load.name,
    route: route.name,
    tokensPerSecond,
    totalCpuUsPerToken: round(total),
  };
}

const overHttp =
  (port: number, key?: string) =>
  (tokens: number): LoadDriver =>
    httpDriver(
      { host: '127.0.0.1', port },
      { path: '/v1/completions', host: 'bench', body: requestBody(tokens), ...(key === undefined ? {} : { key }) },
    );

const metersOf = (fleet: BenchFleet): Readonly<Record<string, Meter>> => ({
  scheduler: processMeter(fleet.scheduler.pid),
  agent: processMeter(fleet.agent.pid),
});

const httpRoute = (fleet: BenchFleet): Route => ({
  name: 'fleet, HTTP',
  meters: metersOf(fleet),
  driver: overHttp(fleet.httpPort, fleet.key),
});

function routes(fleet: BenchFleet, baselines: Baselines): Route[] {
  return [
    httpRoute(fleet),
    {
      name: 'fleet, GenerateMany',
      meters: metersOf(fleet),
      driver: (tokens) => manyDriver(fleet.grpcAddress, fleet.key, requestBody(tokens)),
    },
    { name: 'gRPC stream per request', meters: baselines.grpcMeters, driver: overHttp(baselines.grpcPort) },
    { name: 'plain Node proxy', meters: baselines.proxyMeters, driver: overHttp(baselines.proxyPort) },
  ];
}

interface Baselines {
  readonly children: readonly Child[];
  readonly grpcMeters: Readonly<Record<string, Meter>>;
  readonly grpcPort: number;
  readonly proxyMeters: Readonly<Record<string, Meter>>;
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
    grpcMeters: { scheduler: processMeter(front.child.pid), agent: processMeter(agent.child.pid) },
    grpcPort: front.port,
    proxyMeters: { proxy: processMeter(proxy.child.pid) },
    proxyPort: proxy.port,
  };
}

interface Way {
  readonly name: string;
  readonly target: NetConnectOpts;
  readonly key?: string;
}

const requestOf = (way: Way, tokens: number): StreamRequest => ({
  path: '/v1/completions',
  host: 'bench',
  body: requestBody(tokens),
  ...(way.key === undefined ? {} : { key: way.key }),
});

/** The engine asked directly, then through each route; what a route adds is the difference of the quantiles. */
async function measureAddedTtft(requests: number): Promise<TtftRow[]> {
  const fleet = await startBenchFleet({
    engines: 1,
    simFlags: simFlags({ itlMs: TTFT_ITL_MS }),
    scheduler: { clientWindowBytes: CLIENT_WINDOW_BYTES },
  });
  const baselines = await startBaselines(fleet.engineSockets);
  const ways: Way[] = [
    { name: 'engine itself', target: { path: fleet.engineSockets[0] as string } },
    { name: 'fleet, HTTP', target: { host: '127.0.0.1', port: fleet.httpPort }, key: fleet.key },
    { name: 'gRPC stream per request', target: { host: '127.0.0.1', port: baselines.grpcPort } },
    { name: 'plain Node proxy', target: { host: '127.0.0.1', port: baselines.proxyPort } },
  ];
  try {
    for (const way of ways) await warmUp(httpDriver(way.target, requestOf(way, WARM_UP_TOKENS)));
    const rows: TtftRow[] = [];
    for (const streams of TTFT_STREAMS) rows.push(...(await measureWays(ways, streams, requests)));
    return rows;
  } finally {
    for (const child of baselines.children) await child.stop(STOP_MS);
    await fleet.stop();
  }
}

async function measureWays(ways: readonly Way[], streams: number, requests: number): Promise<TtftRow[]> {
  const tokens = streams === 1 ? TTFT_TOKENS[1] : TTFT_TOKENS[32];
  const perRound = Math.max(streams, Math.ceil((requests * (streams === 1 ? 1 : 4)) / TTFT_ROUNDS));
  const times = ways.map((): number[] => []);
  for (let turn = 0; turn < TTFT_ROUNDS; turn++) {
    for (const [i, way] of ways.entries())
      times[i]?.push(...(await measureTtft(way.target, requestOf(way, tokens), streams, perRound)));
  }
  const direct = p50p99(times[0] ?? []);
  return ways.map((way, i) => {
    const { p50, p99 } = p50p99(times[i] ?? []);
    return {
      streams,
      route: way.name,
      p50Ms: round(p50),
      p99Ms: round(p99),
      addedP50Ms: round(p50 - direct.p50),
      addedP99Ms: round(p99 - direct.p99),
    };
  });
}
