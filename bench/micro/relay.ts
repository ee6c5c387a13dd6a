/**
 * `npm run bench -- micro-relay`: what a token costs on its way through one relay thread, from the bytes of a socket to
 * the bytes of a lane, with nothing else in the process: no sockets, no TLS, no clients. It runs the path three times:
 * bare (reader, scanner and frame alone), without retention (laneGraceMs 0) and with it. The ratio to the bare path is
 * the figure; it shows what a change of the outbox, the tracker or the outlet costs before any fleet is started.
 */
import { ProgressTracker } from '../../agent/core/engine_progress.ts';
import { EngineSteps } from '../../agent/core/step_gather.ts';
import type { ExchangeSink } from '../../agent/workers/engine_connection.ts';
import { EventScanner } from '../../agent/workers/event_scanner.ts';
import { HttpReader } from '../../agent/workers/http_reader.ts';
import { RelayedRequest } from '../../agent/workers/relayed_request.ts';
import {
  type FrameFields,
  type FrameSink,
  RequestOutlet,
  type RetainBudget,
} from '../../agent/workers/request_outlet.ts';
import { FRAME, FrameBatch } from '../../proto/codec.ts';
import { quantile, round } from '../process_stats.ts';
import { alignRows } from '../relay/print.ts';

export interface MicroRelayOptions {
  readonly json?: true;
  readonly streams: number;
  readonly tokens: number;
  readonly rounds: number;
}

const PATHS = ['bare', 'no retention', 'retention'] as const;
type PathName = (typeof PATHS)[number];

/** Credit of a client over HTTP; a scheduler grants it anew in halves. */
const WINDOW_BYTES = 64 * 1024;
const HEAD = Buffer.from(
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n',
);

const chunked = (text: string): Buffer => Buffer.from(`${text.length.toString(16)}\r\n${text}\r\n`);

/** An ordinary chunk as vLLM sends it when asked for token ids. */
const TOKEN = chunked(
  'data: {"id":"chatcmpl-8f14e45fceea167a5a36dedd4bea2543","object":"chat.completion.chunk","created":1753900000,' +
    '"model":"smollm2","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null,' +
    '"token_ids":[1234]}]}\n\n',
);
const LAST = chunked(
  'data: {"id":"chatcmpl-8f14e45fceea167a5a36dedd4bea2543","object":"chat.completion.chunk","created":1753900000,' +
    '"model":"smollm2","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop","token_ids":[2]}]}\n\n' +
    'data: [DONE]\n\n',
);
const END = Buffer.from('0\r\n\r\n');

/** All sockets of a thread read into one buffer. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024);

/** One stream of an engine: takes the bytes of a read. */
interface Stream {
  read(bytes: Buffer): void;
}

/** Takes frames as a lane does, and sends none: a batch is dropped at the end of a turn. */
class NullLane implements FrameSink {
  readonly batch = new FrameBatch();
  readonly blocked = false;
  messages = 0;

  frame(kind: number, fields: FrameFields, payload: Uint8Array, ids: ArrayLike<number>): void {
    fields.kind = kind;
    this.batch.append(fields, payload, ids);
  }

  flush(): void {
    if (this.batch.bytes === 0) return;
    this.batch.take();
    this.messages += 1;
  }
}

function readInto(reader: HttpReader, onReadEnd: () => void): Stream {
  return {
    read(bytes) {
      // The scanner works in place, so each read needs bytes of its own, as a socket gives them.
      readBuffer.set(bytes);
      reader.push(readBuffer, 0, bytes.length);
      onReadEnd();
    },
  };
}

/** The least that any relay does for a token. */
function openBare(lane: NullLane, stream: number): Stream {
  const fields = { kind: 0, stream, attempt: 0, incarnation: 1, index: 0, flags: 0, aux: 0 };
  const options = { wantUsage: false, wantTokenIds: false, maxEventBytes: 1 << 20 };
  const scanner = new EventScanner(options, (buffer, start, end, ids) => {
    lane.frame(FRAME.TOKENS, fields, buffer.subarray(start, end), ids);
    fields.index += ids.length;
  });
  const reader = new HttpReader({
    onHead: () => undefined,
    onBody: (buffer, start, end) => scanner.push(buffer, start, end),
    onComplete: () => undefined,
  });
  return readInto(reader, () => scanner.flush());
}

interface Shared {
  readonly tracker: ProgressTracker;
  readonly budget: RetainBudget;
  readonly steps: EngineSteps;
  ended: number;
}

/** The whole path, with a client that takes what it gets. */
function openWhole(lane: NullLane, stream: number, retain: boolean, shared: Shared): Stream {
  const meta = {
    requestId: `r${stream}`,
    engine: 'e',
    path: '/v1/x',
    stream: true,
    wantUsage: false,
    wantTokenIds: false,
  };
  const place = { stream, attempt: 0, incarnation: 1 };
  const order = { credit: WINDOW_BYTES, stream: true };
  const outlet = new RequestOutlet(lane, place, order, shared, retain, () => undefined);
  const request = new RelayedRequest(
    { incarnation: 1, meta, body: Buffer.alloc(256) },
    1 << 20,
    outlet,
    shared.tracker,
    {
      onEngineDone: () => undefined,
      onDelivered: (ended) => {
        ended.cancel();
        shared.ended += 1;
      },
      onStalled: () => undefined,
    },
  );
  const sinks: ExchangeSink[] = [];
  request.start((_, given) => {
    sinks.push(given);
    return { abort: () => undefined, pause: () => undefined, resume: () => undefined };
  });
  const [to] = sinks;
  if (to === undefined) throw new Error('the request was not sent');
  const reader = new HttpReader({
    onHead: (head) => to.onHead(head),
    onBody: (buffer, start, end) => to.onBody(buffer, start, end),
    onComplete: () => undefined,
  });
  let owed = 0;
  const stream_ = readInto(reader, () => {
    to.onReadEnd();
    if (reader.complete) to.onComplete();
  });
  return {
    read(bytes) {
      stream_.read(bytes);
      owed += bytes.length;
      if (owed < WINDOW_BYTES / 2) return;
      request.grant(owed);
      owed = 0;
    },
  };
}

interface Round {
  readonly cpuUsPerToken: number;
  /** Bytes for scheduler to come back for, at their most. */
  readonly retainedBytes: number;
}

/** Runs `streams` streams of `tokens` tokens, one token of each a turn. */
async function runRound(path: PathName, { streams, tokens }: MicroRelayOptions): Promise<Round> {
  const lane = new NullLane();
  const budget = { usedBytes: 0, maxBytes: 1 << 30, maxIds: 1 << 20 };
  const shared: Shared = { tracker: new ProgressTracker(), budget, steps: new EngineSteps(), ended: 0 };
  const open = (stream: number): Stream =>
    path === 'bare' ? openBare(lane, stream) : openWhole(lane, stream, path === 'retention', shared);
  const before = process.cpuUsage();
  const all = Array.from({ length: streams }, (_, at) => open(at + 1));
  let retainedBytes = 0;
  for (const stream of all) stream.read(HEAD);
  for (let token = 0; token < tokens; token++) {
    for (const stream of all) stream.read(TOKEN);
    lane.flush();
    if (token % 64 === 63) retainedBytes = Math.max(retainedBytes, budget.usedBytes);
    // As after each turn, the collector and timers may run.
    if (token % 16 === 15) await new Promise((resolve) => setImmediate(resolve));
  }
  for (const stream of all) {
    stream.read(LAST);
    stream.read(END);
  }
  lane.flush();
  const used = process.cpuUsage(before);
  if (path !== 'bare' && shared.ended !== streams) throw new Error(`${shared.ended} of ${streams} streams ended`);
  return { cpuUsPerToken: (used.user + used.system) / (streams * tokens), retainedBytes };
}

export async function runMicroRelay(options: MicroRelayOptions): Promise<void> {
  const results = new Map<PathName, Round[]>(PATHS.map((path) => [path, []]));
  for (const path of PATHS) await runRound(path, options);
  // In turns, so that what else the machine does falls on all alike.
  for (let turn = 0; turn < options.rounds; turn++)
    for (const path of PATHS) results.get(path)?.push(await runRound(path, options));
  const rows = PATHS.map((path) => {
    const rounds = results.get(path) ?? [];
    const costs = rounds.map(({ cpuUsPerToken }) => cpuUsPerToken);
    const retainedMb = Math.max(...rounds.map(({ retainedBytes }) => retainedBytes)) / 2 ** 20;
    return {
      path,
      cpuUsPerToken: round(quantile(costs, 0.5)),
      leastUs: round(Math.min(...costs)),
      retainedMb: round(retainedMb),
    };
  });
  const bare = rows[0]?.cpuUsPerToken ?? Number.NaN;
  const table = rows.map((row) => [
    row.path,
    row.cpuUsPerToken,
    row.leastUs,
    round(row.cpuUsPerToken / bare),
    row.retainedMb,
  ]);
  process.stdout.write(
    `CPU microseconds per token, ${options.streams} streams, median and least of ${options.rounds} rounds\n` +
      `${alignRows([['path', 'median', 'least', 'ratio', 'retained MB'], ...table])}\n`,
  );
  if (options.json === true) process.stdout.write(`${JSON.stringify({ ...options, rows })}\n`);
}
