/**
 * `npm run bench -- load`: an open loop of requests, at a mean rate or as a trace has them, on any OpenAI-compatible
 * server or on a fleet of its own. What a caller would feel is what is printed: latencies from the intended time on,
 * and how many requests were good enough, refusals and cut streams counted against.
 */
import { writeFile } from 'node:fs/promises';
import { CodedError } from '../../lib/errors.ts';
import { seededRandom } from '../../lib/rng.ts';
import { round } from '../process_stats.ts';
import { startProgress } from '../progress.ts';
import { type Arrival, poissonArrivals, replayArrivals } from './arrivals.ts';
import { LoadRecorder, type LoadFigures, type Objective } from './figures.ts';
import { createHttpClient, type LoadClient } from './http_client.ts';
import { createManyClient } from './many_client.ts';
import { realClock, runOpenLoop, type Send } from './open_loop.ts';
import { printLoad } from './print.ts';
import { promptOf } from './prompt.ts';
import { type Distribution, loadPage } from './report.ts';
import { openTarget, type Target, type TargetOptions } from './target.ts';
import { readArrivals } from './trace.ts';

export interface LoadOptions extends TargetOptions {
  readonly json?: true;
  readonly html?: string;
  /** Requests a second; with a trace its own times hold. */
  readonly rate: number;
  readonly seconds: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly trace?: string;
  readonly speed: number;
  readonly seed: number;
  readonly maxInFlight: number;
  readonly timeout: number;
  readonly sloTtftMs: number;
  readonly sloTpotMs: number;
  readonly warmUp: number;
  readonly keepAlive?: true;
  /** Sends OpenAI's own fields only. */
  readonly plain?: true;
}

export interface LoadReport extends LoadFigures {
  readonly target: string;
  readonly model: string;
  readonly door: string;
  readonly endpoint: string;
  readonly load: string;
  readonly seed: number;
  /** Requests of the schedule that were not sent, because the run was interrupted. */
  readonly unsent: number;
  /** The whole distributions, which the JSON leaves to the HTML. */
  readonly distributions: readonly Distribution[];
}

/** A trace from a much longer time would otherwise wait for its first requests alone. */
const WARM_UP_RATE = 20;
const WARM_UP_TOKENS = 16;
const INTERRUPTED = 130;

/** A request in OpenAI's form. */
export function bodyOf(
  options: Pick<LoadOptions, 'endpoint' | 'plain'>,
  model: string,
  arrival: Arrival,
  index: number,
): string {
  const prompt = promptOf(arrival, index);
  return JSON.stringify({
    model,
    ...(options.endpoint === 'chat' ? { messages: [{ role: 'user', content: prompt }] } : { prompt }),
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: arrival.outputTokens,
    temperature: 0,
    // Else an answer is as long as the model likes, and two runs are two loads.
    ...(options.plain === true ? {} : { ignore_eos: true }),
  });
}

async function scheduleOf(options: LoadOptions): Promise<{ arrivals: Arrival[]; words: string }> {
  const { trace, speed, seconds, rate, inputTokens, outputTokens } = options;
  if (trace !== undefined) {
    const arrivals = replayArrivals(await readArrivals(trace, options.seed), { speed, seconds });
    return { arrivals, words: `${trace}, ${speed} times as fast, ${seconds} s` };
  }
  const plan = { ratePerS: rate, seconds, inputTokens, outputTokens };
  return {
    arrivals: poissonArrivals(plan, seededRandom(options.seed)),
    words: `${rate} requests/s (Poisson), ${inputTokens} tokens in, ${outputTokens} out, ${seconds} s`,
  };
}

function clientOf(options: LoadOptions, target: Target, recorder: LoadRecorder): LoadClient {
  const timeoutMs = options.timeout * 1000;
  if (options.door === 'many') {
    const { grpcAddress: address = '', key = '' } = target;
    return createManyClient({ address, key, endpoint: options.endpoint, timeoutMs }, recorder);
  }
  const { url, key } = target;
  const keyed = key === undefined ? {} : { key };
  return createHttpClient({ url, timeoutMs, keepAlive: options.keepAlive === true, ...keyed }, recorder);
}

const sender =
  (client: LoadClient, body: string): Send =>
  (intendedMs) =>
    client.send(body, intendedMs);

/** Requests that are not counted: code and connections are warm afterwards. */
async function warmUp(options: LoadOptions, target: Target, objective: Objective): Promise<void> {
  const client = clientOf(options, target, new LoadRecorder(objective, performance.now()));
  const plan = { ratePerS: WARM_UP_RATE, seconds: options.warmUp, inputTokens: 16, outputTokens: WARM_UP_TOKENS };
  await runOpenLoop({
    arrivals: poissonArrivals(plan, seededRandom(options.seed)),
    maxInFlight: options.maxInFlight,
    clock: realClock,
    prepare: (arrival, index) => sender(client, bodyOf(options, target.model, arrival, -1 - index)),
  });
  client.close();
}

interface Stop {
  asked: boolean;
}

async function measure(options: LoadOptions, target: Target, arrivals: readonly Arrival[], stop: Stop) {
  const objective = { ttftMs: options.sloTtftMs, tpotMs: options.sloTpotMs };
  if (options.warmUp > 0) await warmUp(options, target, objective);
  const recorder = new LoadRecorder(objective, performance.now());
  const client = clientOf(options, target, recorder);
  const progress = startProgress('load', arrivals.length);
  const redraw = setInterval(() => {
    const p50 = round(recorder.ttft.at(0.5), 1);
    progress.update(recorder.ended, `${recorder.ended} ended, ${recorder.failed} failed, TTFT p50 ${p50} ms`);
  }, 200);
  try {
    const sent = await runOpenLoop({
      arrivals,
      maxInFlight: options.maxInFlight,
      clock: realClock,
      stopped: () => stop.asked,
      prepare: (arrival, index) => sender(client, bodyOf(options, target.model, arrival, index)),
    });
    return { recorder, sent };
  } finally {
    clearInterval(redraw);
    progress.end();
    client.close();
  }
}

export async function runLoad(options: LoadOptions): Promise<void> {
  const { arrivals, words } = await scheduleOf(options);
  if (arrivals.length === 0)
    throw new CodedError('invalid_value', 'The load holds no request; raise --rate or --seconds.', { param: 'rate' });
  const target = await openTarget(options);
  const stop: Stop = { asked: false };
  // The first Ctrl-C ends the run early and prints what there is.
  const onSignal = (): void => {
    if (stop.asked) process.exit(INTERRUPTED);
    stop.asked = true;
  };
  process.on('SIGINT', onSignal);
  try {
    const { recorder, sent } = await measure(options, target, arrivals, stop);
    const report: LoadReport = {
      target: target.name,
      model: target.model,
      door: options.door,
      endpoint: options.endpoint,
      load: words,
      seed: options.seed,
      unsent: arrivals.length - sent,
      ...recorder.figures(),
      distributions: [
        { name: 'time to first token', histogram: recorder.ttft },
        { name: 'between tokens', histogram: recorder.itl },
        { name: 'whole request', histogram: recorder.e2e },
      ],
    };
    if (options.html !== undefined) await writeFile(options.html, loadPage(report));
    process.stdout.write(`${printLoad(report)}\n`);
    if (options.json === true) process.stdout.write(`${JSON.stringify({ ...report, distributions: undefined })}\n`);
  } finally {
    process.off('SIGINT', onSignal);
    await target.stop();
  }
}
