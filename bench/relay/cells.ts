/**
 * One cell of the relay benchmark: a number of streams kept busy for a while, and what the processes under measurement
 * used meanwhile.
 */
import type { NetConnectOpts, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type StreamRequest, streamOnce } from '../clients/http_stream.ts';
import { type ManyRequest, openMany } from '../clients/many.ts';
import { LatencyHistogram } from '../load/histogram.ts';
import { cpuUs, quantile, rssBytes } from '../process_stats.ts';

/** How often the clients start: spread over this time, so that streams are not all in the same phase. */
const RAMP_MS = 1000;
const SETTLE_MS = 1500;
const MAX_RAMP_MS = 15_000;
/**
 * Code that runs once a request is compiled well only after some thousand of them: measured, a request costs the
 * scheduler 1.5 ms in the first 2,000 and 0.6 ms after 4,000. A server is measured as it is after its first minute.
 */
const WARM_UP_REQUESTS = 4000;
const WARM_UP_MS = 6000;
const WARM_UP_STREAMS = 32;

/** What reads the use of one measured part: a process, or a tree of them. */
export interface Meter {
  /** Since the part was started, in microseconds. */
  cpuUs(): number;
  rssBytes(): number;
}

export const processMeter = (pid: number): Meter => ({ cpuUs: () => cpuUs(pid), rssBytes: () => rssBytes(pid) });

export interface Cell {
  readonly tokens: number;
  readonly seconds: number;
  /** CPU microseconds per token of each measured process, by its name. */
  readonly cpuUsPerToken: Readonly<Record<string, number>>;
  readonly rssMb: Readonly<Record<string, number>>;
  readonly failed: number;
  /** Between two arrivals of one stream at its client, 99th percentile. */
  readonly gapP99Ms: number;
}

export interface LoadDriver {
  /** Runs one request to its end. */
  request(): Promise<{ readonly ok: boolean; readonly why: string }>;
  /** Tokens received since the driver was made. */
  tokens(): number;
  /** Streams that have begun to answer since the driver was made. */
  begun(): number;
  /** Times between the arrivals of a stream, since the last call. */
  takeGaps(): LatencyHistogram;
  close(): void;
}

/** Counts what arrives at all clients of a driver. */
class Arrivals {
  tokens = 0;
  /** Streams that have had their first event. */
  begun = 0;
  #gaps = new LatencyHistogram();

  /** For one stream: to be called with each number of new events, and the message they came in where one holds several. */
  stream(): (count: number, message?: number) => void {
    let lastMs: number | undefined;
    let lastMessage: number | undefined;
    return (count, message) => {
      this.tokens += count;
      if (message !== undefined && message === lastMessage) return;
      lastMessage = message;
      const nowMs = performance.now();
      if (lastMs === undefined) this.begun++;
      else this.#gaps.record(nowMs - lastMs);
      lastMs = nowMs;
    };
  }

  takeGaps(): LatencyHistogram {
    const gaps = this.#gaps;
    this.#gaps = new LatencyHistogram();
    return gaps;
  }
}

/** Requests over HTTP, each on a connection of its own. */
export function httpDriver(target: NetConnectOpts, request: StreamRequest): LoadDriver {
  const arrivals = new Arrivals();
  const sockets = new Set<Socket>();
  const onSocket = (socket: Socket): void => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  };
  return {
    request: () => streamOnce(target, request, { onEvents: arrivals.stream(), onSocket }),
    tokens: () => arrivals.tokens,
    begun: () => arrivals.begun,
    takeGaps: () => arrivals.takeGaps(),
    close() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Requests over one GenerateMany stream. */
export function manyDriver(
  address: string,
  key: string,
  body: string,
  endpoint: ManyRequest['endpoint'] = 'ENDPOINT_COMPLETIONS',
): LoadDriver {
  const client = openMany(address, key);
  const arrivals = new Arrivals();
  return {
    request() {
      const arrived = arrivals.stream();
      return client.run({ body, endpoint, onChunk: () => arrived(1, client.messages) }).done;
    },
    tokens: () => arrivals.tokens,
    begun: () => arrivals.begun,
    takeGaps: () => arrivals.takeGaps(),
    close: () => client.close(),
  };
}

/** Runs short requests until the code on their way is compiled; for routes that are slow, until time is up. */
export async function warmUp(driver: LoadDriver, requests = WARM_UP_REQUESTS, limitMs = WARM_UP_MS): Promise<void> {
  const endMs = performance.now() + limitMs;
  let left = requests;
  const loop = async (): Promise<void> => {
    while (left-- > 0 && performance.now() < endMs) {
      // A route that fails shows it in what is measured afterwards.
      await driver.request();
    }
  };
  await Promise.all(Array.from({ length: WARM_UP_STREAMS }, loop));
  driver.close();
}

/** Keeps `streams` requests running for `seconds` after a ramp, and measures the given parts meanwhile. */
export async function measureCell(
  driver: LoadDriver,
  streams: number,
  seconds: number,
  meters: Readonly<Record<string, Meter>>,
): Promise<Cell> {
  let stop = false;
  let failed = 0;
  const loop = async (index: number): Promise<void> => {
    await sleep((index / streams) * RAMP_MS);
    while (!stop) {
      const outcome = await driver.request();
      if (!outcome.ok && !stop) {
        failed++;
        await sleep(50);
      }
    }
  };
  const loops = Array.from({ length: streams }, (_, index) => loop(index));
  await sleep(RAMP_MS + SETTLE_MS);
  // A slow route needs longer to take so many requests; what is measured is the streams, not their beginning.
  const latestMs = performance.now() + MAX_RAMP_MS;
  while (driver.begun() < streams && performance.now() < latestMs) await sleep(100);
  const names = Object.entries(meters);
  driver.takeGaps();
  const cpuBefore = names.map(([, meter]) => meter.cpuUs());
  const tokensBefore = driver.tokens();
  const startedMs = performance.now();
  await sleep(seconds * 1000);
  const tokens = driver.tokens() - tokensBefore;
  const elapsedS = (performance.now() - startedMs) / 1000;
  const cpuUsPerToken = Object.fromEntries(
    names.map(([name, meter], i) => [name, (meter.cpuUs() - (cpuBefore[i] as number)) / tokens]),
  );
  const rssMb = Object.fromEntries(names.map(([name, meter]) => [name, meter.rssBytes() / 1e6]));
  const gapP99Ms = driver.takeGaps().at(0.99);
  stop = true;
  driver.close();
  await Promise.race([Promise.all(loops), sleep(20_000, undefined, { ref: false })]);
  return { tokens, seconds: elapsedS, cpuUsPerToken, rssMb, failed, gapP99Ms };
}

/** Times to first token in milliseconds of `requests` requests, `streams` at a time. */
export async function measureTtft(
  target: NetConnectOpts,
  request: StreamRequest,
  streams: number,
  requests: number,
): Promise<number[]> {
  const times: number[] = [];
  let left = requests;
  const loop = async (): Promise<void> => {
    while (left > 0) {
      left--;
      const outcome = await streamOnce(target, request);
      if (outcome.ok) times.push(outcome.ttftMs);
    }
  };
  await Promise.all(Array.from({ length: streams }, loop));
  return times;
}

export function p50p99(times: readonly number[]): { p50: number; p99: number } {
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}
