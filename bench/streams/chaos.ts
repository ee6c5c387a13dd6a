/**
 * `npm run bench -- chaos`: streams run, and again and again something under them dies. Each answer is compared with an
 * uncut run of the same prompt, and the silence of each stream that was struck is measured.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { weightsFolder } from '../config.ts';
import { quantile, round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';
import { readStream, type StreamResult } from './client.ts';
import { type FaultName, STRIKE } from './faults.ts';
import { type Ask, asksOf } from './prompts.ts';
import { MODEL, type Stage, startStage } from './stage.ts';

export interface ChaosStreamsOptions {
  readonly fault: FaultName;
  readonly engine: 'sim' | 'llama';
  readonly agents: number;
  readonly engines: number;
  readonly streams: number;
  /** Seconds between two faults; absent: 3, and 10 for `stop` and `agent`. */
  readonly every?: number;
  readonly seconds: number;
  readonly tokens: number;
  readonly json?: boolean;
}

export interface ChaosStreamsReport {
  readonly fault: FaultName;
  readonly streams: number;
  /** Streams that ended with an error, without their end, or not at all. */
  readonly failed: number;
  /** Streams whose text differs from that of an uncut run. */
  readonly different: number;
  readonly faults: number;
  /** Streams that were cut in the middle and went on. */
  readonly cut: number;
  /** Silence that a client of such a stream saw. */
  readonly gapP50Ms: number;
  readonly gapP99Ms: number;
  readonly reconnects: number;
  readonly seconds: number;
}

interface Finished {
  readonly ask: number;
  readonly result: StreamResult;
}

const STREAM_LIMIT_MS = 120_000;
const SLOW_FAULTS: ReadonlySet<FaultName> = new Set(['stop', 'agent', 'scheduler', 'drain']);
/** Faults at which clients must come back themselves. */
const KEYED: ReadonlySet<FaultName> = new Set(['scheduler', 'drain']);
const SHOWN_FAILURES = 5;

function findWeights(): string {
  const folder = weightsFolder();
  const file = existsSync(folder) ? readdirSync(folder).find((name) => name.endsWith('.gguf')) : undefined;
  if (file === undefined) throw new Error('The embedded model is not in the cache: start `npm start` once.');
  return path.join(folder, file);
}

async function openStage(options: ChaosStreamsOptions): Promise<Stage> {
  const { agents, engines, engine } = options;
  if (engine === 'llama') {
    // Each agent believes that it has the host for itself; threads of several engines on one core only spin.
    const threads = Math.max(1, Math.floor(availableParallelism() / engines));
    return startStage({
      agents,
      engines,
      kind: 'llama',
      weights: findWeights(),
      flags: ['--threads', String(threads)],
    });
  }
  return startStage({ agents, engines, kind: 'sim', flags: ['--sim-itl-ms', '20', '--sim-start-ms', '500'] });
}

/** Keeps one stream open after the other until `until`; asks in turn, so that all prompts run at any time. */
async function runClient(
  stage: Stage,
  asks: readonly Ask[],
  first: number,
  options: { readonly isOver: () => boolean; readonly keyed: boolean },
): Promise<Finished[]> {
  const finished: Finished[] = [];
  for (let turn = first; !options.isOver(); turn++) {
    const ask = turn % asks.length;
    const key = options.keyed ? { idempotencyKey: randomBytes(12).toString('hex') } : {};
    const result = await readStream(stage.target, asks[ask] as Ask, { ...key, limitMs: STREAM_LIMIT_MS });
    finished.push({ ask, result });
    // A scheduler that is away refuses at once; without a pause its clients would only spin.
    if (!result.ok) await sleep(100);
  }
  return finished;
}

interface Struck {
  readonly id: string;
  readonly atMs: number;
}

/** Which requests were struck when, as the scheduler wrote it. */
function struckIn(lines: readonly string[]): Struck[] {
  return lines
    .filter((line) => line.includes('"msg":"failover"'))
    .map((line) => JSON.parse(line) as { time: number | string; requestId: string })
    .map(({ time, requestId }) => ({ id: requestId, atMs: new Date(time).getTime() }));
}

/** The silence around a moment in a stream, in milliseconds; undefined: the stream had not begun. */
function gapAt(timesMs: readonly number[], atMs: number): number | undefined {
  // The log's clock is the same; a piece that was under way when the line was written is on this side of it.
  const next = timesMs.findIndex((time) => time > atMs);
  if (next <= 0) return undefined;
  return (timesMs[next] as number) - (timesMs[next - 1] as number);
}

function longestGap(timesMs: readonly number[]): number {
  let longest = 0;
  for (let at = 1; at < timesMs.length; at++)
    longest = Math.max(longest, (timesMs[at] as number) - (timesMs[at - 1] as number));
  return longest;
}

/** The silences of streams that were struck, and how many streams those are. */
function gapsOf(
  finished: readonly Finished[],
  struck: readonly Struck[],
  keyed: boolean,
): { cut: number; gaps: number[] } {
  if (keyed) {
    const back = finished.filter(({ result }) => result.reconnects > 0 && result.timesMs.length > 1);
    return { cut: back.length, gaps: back.map(({ result }) => longestGap(result.timesMs)) };
  }
  const byId = new Map(finished.map(({ result }) => [result.id.replace(/^(chatcmpl|cmpl)-/, ''), result]));
  const cut = new Set<string>();
  const gaps: number[] = [];
  for (const { id, atMs } of struck) {
    const gap = gapAt(byId.get(id)?.timesMs ?? [], atMs);
    if (gap === undefined) continue;
    cut.add(id);
    gaps.push(gap);
  }
  return { cut: cut.size, gaps };
}

async function strikeUntil(stage: Stage, options: ChaosStreamsOptions, endMs: number): Promise<number> {
  const everyMs = (options.every ?? (SLOW_FAULTS.has(options.fault) ? 10 : 3)) * 1000;
  let faults = 0;
  for (let nextMs = Date.now() + everyMs; nextMs < endMs; nextMs += everyMs) {
    await sleep(Math.max(0, nextMs - Date.now()));
    // The next only when all serve: what is judged is the loss of one part, not of all.
    const engines = await stage.allReady();
    if (Date.now() >= endMs) break;
    await STRIKE[options.fault](stage, engines, faults);
    faults += 1;
  }
  await sleep(Math.max(0, endMs - Date.now()));
  return faults;
}

/** Where two texts part, with what stands there. */
function differenceOf(got: string, wanted: string): string {
  let at = 0;
  while (at < got.length && got[at] === wanted[at]) at++;
  const around = (text: string): string => JSON.stringify(text.slice(Math.max(0, at - 20), at + 40));
  return `at ${at} of ${wanted.length}, got ${around(got)}, not ${around(wanted)}`;
}

async function measure(stage: Stage, options: ChaosStreamsOptions): Promise<ChaosStreamsReport> {
  const asks = asksOf(MODEL, options.tokens);
  const keyed = KEYED.has(options.fault);
  const limitMs = STREAM_LIMIT_MS;
  const uncut = await Promise.all(asks.map((ask) => readStream(stage.target, ask, { limitMs })));
  const broken = uncut.find((result) => !result.ok);
  if (broken !== undefined) throw new Error(`an uncut run failed: ${broken.why}`);
  const startMs = Date.now();
  const endMs = startMs + options.seconds * 1000;
  const clients = Array.from({ length: options.streams }, (_, index) =>
    runClient(stage, asks, index, { isOver: () => Date.now() >= endMs, keyed }),
  );
  const faults = await strikeUntil(stage, options, endMs);
  const finished = (await Promise.all(clients)).flat();
  const failed = finished.filter(({ result }) => !result.ok);
  const different = finished.filter(({ ask, result }) => result.ok && result.text !== uncut[ask]?.text);
  for (const { ask, result } of failed.slice(0, SHOWN_FAILURES))
    console.error(`failed, ${asks[ask]?.name}: ${result.why}`);
  for (const { ask, result } of different.slice(0, SHOWN_FAILURES))
    console.error(`different, ${asks[ask]?.name}, ${result.id}: ${differenceOf(result.text, uncut[ask]?.text ?? '')}`);
  const { cut, gaps } = gapsOf(finished, struckIn(await stage.schedulerLines()), keyed);
  return {
    fault: options.fault,
    streams: finished.length,
    failed: failed.length,
    different: different.length,
    faults,
    cut,
    gapP50Ms: round(quantile(gaps, 0.5)),
    gapP99Ms: round(quantile(gaps, 0.99)),
    reconnects: finished.reduce((sum, { result }) => sum + result.reconnects, 0),
    seconds: round((Date.now() - startMs) / 1000, 1),
  };
}

export async function runChaosStreams(options: ChaosStreamsOptions): Promise<void> {
  const stage = await openStage(options);
  let report: ChaosStreamsReport;
  try {
    report = await measure(stage, options);
  } finally {
    await stage.stop();
  }
  const { fault, streams, failed, different, faults, cut, gapP50Ms, gapP99Ms } = report;
  console.log(
    alignRows([
      ['fault', 'of', 'faults', 'streams', 'cut', 'failed', 'different', 'gap p50 ms', 'gap p99 ms'],
      [fault, options.engine, faults, streams, cut, failed, different, gapP50Ms, gapP99Ms],
    ]),
  );
  if (options.json === true) console.log(JSON.stringify(report));
  if (failed > 0 || different > 0) process.exitCode = 1;
}
