/** What a token, a first token and a plain request cost with each contestant, in turns on the same engines. */
import { Agent, request as httpRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { BENCH_MODEL } from '../bench_fleet.ts';
import { quantile, round } from '../process_stats.ts';
import { type Cell, httpDriver, type LoadDriver, manyDriver, measureCell, measureTtft } from '../relay/cells.ts';
import type { Contestant } from './contestants.ts';

export interface CostRow {
  readonly load: string;
  readonly router: string;
  /** CPU microseconds per token by part; absent when its processes are not known. */
  readonly cpuUsPerToken: Readonly<Record<string, number>>;
  readonly totalUsPerToken: number;
  readonly tokensPerS: number;
  readonly gapP99Ms: number;
  /** Resident memory at the end of the load, by part. */
  readonly rssMb: Readonly<Record<string, number>>;
  readonly failed: number;
  /** The totals of the single rounds; their spread is the noise. */
  readonly rounds: readonly number[];
}

export interface TtftRow {
  readonly streams: number;
  readonly router: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly addedP50Ms: number;
  readonly addedP99Ms: number;
  readonly requests: number;
}

export interface PlainRow {
  readonly router: string;
  readonly cpuUsPerRequest: Readonly<Record<string, number>>;
  readonly totalUsPerRequest: number;
  readonly requestsPerS: number;
  readonly failed: number;
}

const PROMPT = 'Say something about the weather, at some length.';
const PLAIN_CONNECTIONS = 16;
const TURN_LIMIT_MS = 60_000;

/** A chat request of a fixed length. */
export function chatBody(tokens: number, stream = true): string {
  return JSON.stringify({
    model: BENCH_MODEL,
    messages: [{ role: 'user', content: PROMPT }],
    max_tokens: tokens,
    ignore_eos: true,
    temperature: 0,
    stream,
  });
}

const targetOf = (url: URL) => ({ host: url.hostname, port: Number(url.port || '80') });

const streamRequest = ({ url, key }: Pick<Contestant, 'url' | 'key'>, tokens: number) => ({
  path: url.pathname,
  host: url.host,
  body: chatBody(tokens),
  ...(key === undefined ? {} : { key }),
});

/** A driver of streamed requests for `tokens` tokens. */
export function driverOf(contestant: Contestant, tokens: number): LoadDriver {
  const { door, url, grpcAddress = '', key = '' } = contestant;
  if (door === 'many') return manyDriver(grpcAddress, key, chatBody(tokens), 'ENDPOINT_CHAT_COMPLETIONS');
  return httpDriver(targetOf(url), streamRequest(contestant, tokens));
}

/** One round of one load with one contestant. */
export async function costCell(
  contestant: Contestant,
  streams: number,
  tokens: number,
  seconds: number,
): Promise<Cell> {
  return measureCell(driverOf(contestant, tokens), streams, seconds, contestant.meters);
}

const sumOf = (parts: Readonly<Record<string, number>>): number =>
  Object.values(parts).reduce((sum, value) => sum + value, 0);

function medianParts(cells: readonly Cell[], pick: (cell: Cell) => Readonly<Record<string, number>>) {
  const parts = Object.keys(pick(cells[0] as Cell));
  return Object.fromEntries(
    parts.map((part) => [
      part,
      round(
        quantile(
          cells.map((cell) => pick(cell)[part] as number),
          0.5,
        ),
      ),
    ]),
  );
}

/** The median of the rounds of a load. */
export function costRow(load: string, router: string, cells: readonly Cell[]): CostRow {
  const median = (pick: (cell: Cell) => number): number => quantile(cells.map(pick), 0.5);
  const known = Object.keys(cells[0]?.cpuUsPerToken ?? {}).length > 0;
  const rounds = cells.map((cell) => round(known ? sumOf(cell.cpuUsPerToken) : Number.NaN));
  return {
    load,
    router,
    cpuUsPerToken: medianParts(cells, (cell) => cell.cpuUsPerToken),
    totalUsPerToken: round(quantile(rounds, 0.5)),
    tokensPerS: Math.round(median((cell) => cell.tokens / cell.seconds)),
    gapP99Ms: round(median((cell) => cell.gapP99Ms)),
    rssMb: medianParts(cells, (cell) => cell.rssMb),
    failed: cells.reduce((sum, cell) => sum + cell.failed, 0),
    rounds,
  };
}

/** One turn of requests whose times to first token are taken. */
export async function ttftTurn(
  contestant: Pick<Contestant, 'url' | 'key'>,
  streams: number,
  tokens: number,
  requests: number,
): Promise<number[]> {
  const turn = measureTtft(targetOf(contestant.url), streamRequest(contestant, tokens), streams, requests);
  // A router that lets a stream hang must not hang the comparison; the times of such a turn are left out.
  return Promise.race([turn, sleep(TURN_LIMIT_MS, [], { ref: false })]);
}

export function ttftRow(streams: number, router: string, times: readonly number[], direct: readonly number[]): TtftRow {
  const [p50, p99] = [quantile(times, 0.5), quantile(times, 0.99)];
  return {
    streams,
    router,
    p50Ms: round(p50),
    p99Ms: round(p99),
    addedP50Ms: round(p50 - quantile(direct, 0.5)),
    addedP99Ms: round(p99 - quantile(direct, 0.99)),
    requests: times.length,
  };
}

/** Answers of one token, not streamed, over connections that are kept: what a request costs without its tokens. */
export async function plainCell(contestant: Contestant, seconds: number): Promise<PlainRow> {
  const agent = new Agent({ keepAlive: true, maxSockets: PLAIN_CONNECTIONS });
  const body = chatBody(1, false);
  let [done, failed] = [0, 0];
  let running = true;
  const loop = async (): Promise<void> => {
    while (running) {
      if (await plainRequest(contestant, agent, body)) done++;
      else failed++;
    }
  };
  const loops = Array.from({ length: PLAIN_CONNECTIONS }, loop);
  await sleep(1000);
  const names = Object.entries(contestant.meters);
  const before = names.map(([, meter]) => meter.cpuUs());
  const [doneBefore, startedMs] = [done, performance.now()];
  await sleep(seconds * 1000);
  const requests = done - doneBefore;
  const elapsedS = (performance.now() - startedMs) / 1000;
  const used = names.map(([name, meter], i) => [name, (meter.cpuUs() - (before[i] as number)) / requests] as const);
  running = false;
  await Promise.all(loops);
  agent.destroy();
  return {
    router: contestant.name,
    cpuUsPerRequest: Object.fromEntries(used.map(([name, us]) => [name, round(us)])),
    totalUsPerRequest: used.length === 0 ? Number.NaN : round(used.reduce((sum, [, us]) => sum + us, 0)),
    requestsPerS: Math.round(requests / elapsedS),
    failed,
  };
}

const PLAIN_TIMEOUT_MS = 10_000;

function plainRequest({ url, key }: Contestant, agent: Agent, body: string): Promise<boolean> {
  return new Promise((resolve) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    };
    const request = httpRequest(url, { method: 'POST', agent, headers, timeout: PLAIN_TIMEOUT_MS });
    request.on('timeout', () => request.destroy(new Error('timeout')));
    request.on('error', () => resolve(false));
    request.on('response', (response) => {
      response.on('error', () => resolve(false));
      response.on('close', () => resolve(false));
      response.on('end', () => resolve(response.statusCode === 200));
      response.resume();
    });
    request.end(body);
  });
}
