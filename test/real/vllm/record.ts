/**
 * Records what a real vLLM sends, byte for byte, as fixtures for the tests of the agent's stream reader.
 *
 * Usage: SOPHIA_VLLM_VENV=... SOPHIA_VLLM_MODEL=/srv/models/smollm2 node build/test/real/vllm/record.js OUT_FOLDER
 * The model path appears in answers and in the log, so give a neutral one (a symbolic link will do): replacing it
 * afterwards would break the chunk sizes.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processOfRole, startVllm, type Vllm, type VllmOptions } from './engine.ts';
import { ORDINARY, type RecordedRequest, TOOLS } from './record_requests.ts';
import { type Exchange, exchange, open, type Request } from './wire_capture.ts';

type Recording = { readonly file: string; readonly how: string; readonly end: string };

const LONG_STREAM: Request = {
  method: 'POST',
  path: '/v1/chat/completions',
  body: {
    model: 'smollm2',
    messages: [{ role: 'user', content: 'Count from one upwards.' }],
    max_tokens: 600,
    ignore_eos: true,
    temperature: 0,
    stream: true,
    return_token_ids: true,
  },
};

const TOOL_PARSER = ['--enable-auto-tool-choice', '--tool-call-parser', 'hermes'];

/** Histograms make up nine tenths of /metrics; three buckets of each show the shape as well as thirty do. */
function trimMetrics(raw: Buffer): Buffer {
  const text = raw.toString('utf8');
  const headEnd = text.indexOf('\r\n\r\n');
  const bucketsOf = new Map<string, number>();
  const body = text
    .slice(headEnd + 4)
    .split('\n')
    .filter((line) => {
      const name = /^(\w[\w:]*_bucket)\{/.exec(line)?.[1];
      if (name === undefined || line.includes('le="+Inf"')) return !/_created\b/.test(line);
      const seen = (bucketsOf.get(name) ?? 0) + 1;
      bucketsOf.set(name, seen);
      return seen <= 3;
    })
    .join('\n');
  const head = text.slice(0, headEnd).replace(/content-length: \d+/i, `content-length: ${Buffer.byteLength(body)}`);
  return Buffer.from(`${head}\r\n\r\n${body}`);
}

/** The end of a log from a whole line on. */
function lastLines(log: string, characters: number): string {
  const tail = log.slice(-characters);
  return tail.slice(tail.indexOf('\n') + 1);
}

class Recorder {
  readonly #folder: string;
  readonly #venv: string;
  readonly recordings: Recording[] = [];

  constructor(folder: string, venv: string) {
    this.#folder = folder;
    this.#venv = venv;
    mkdirSync(folder, { recursive: true });
  }

  save(file: string, bytes: Buffer, how: string, end: string): void {
    writeFileSync(join(this.#folder, file), bytes);
    this.recordings.push({ file, how, end });
    process.stdout.write(`${file}: ${bytes.length} bytes ${end}\n`);
  }

  /** Logs have no framing, so what names this machine is replaced. */
  saveLog(file: string, log: string, how: string): void {
    const neutral = log
      .replaceAll(this.#venv, '/opt/vllm')
      .replaceAll(/"\/(?!opt\/vllm)[^\s"]*\/lib\/python3\.11\//g, '"/usr/lib/python3.11/')
      .replaceAll(/mq_connect_ip=[\d.]+/g, 'mq_connect_ip=192.0.2.1');
    this.save(file, Buffer.from(neutral), how, '');
  }

  keep(file: string, taken: Exchange, how: string): void {
    this.save(file, taken.raw, how, taken.end);
  }
}

function describe(request: Request): string {
  const body =
    request.body === undefined ? '' : typeof request.body === 'string' ? request.body : JSON.stringify(request.body);
  const short = body.length > 400 ? `${body.slice(0, 200)} ... ${body.slice(-150)}` : body;
  return `${request.method} ${request.path}${short === '' ? '' : ` with \`${short.replaceAll('|', '\\|')}\``}`;
}

async function recordAnswers(recorder: Recorder, engine: Vllm, requests: readonly RecordedRequest[]): Promise<void> {
  for (const { file, request, note } of requests) {
    const taken = await exchange(engine.address, request);
    recorder.keep(file, taken, `${describe(request)}${note === undefined ? '' : `; ${note}`}`);
  }
}

/** /metrics is worth having while something runs: at rest the gauges are all 0. */
async function recordMetrics(recorder: Recorder, engine: Vllm): Promise<void> {
  const busy = [open(engine.address, LONG_STREAM), open(engine.address, LONG_STREAM)];
  await Promise.all(busy.map((stream) => stream.until('"content":"')));
  await sleep(500);
  const metrics = await exchange(engine.address, { method: 'GET', path: '/metrics' });
  for (const stream of busy) stream.drop();
  recorder.save(
    'metrics.http',
    trimMetrics(metrics.raw),
    'GET /metrics while two streams run; three buckets a histogram kept, `_created` lines dropped, content-length set right',
    'complete',
  );
}

/** What a stream and a plain request in flight, and the probes after them, get when EngineCore is killed. */
async function recordKilledCore(recorder: Recorder, engine: Vllm): Promise<void> {
  const stream = open(engine.address, LONG_STREAM);
  const plain = open(engine.address, { ...LONG_STREAM, body: { ...(LONG_STREAM.body as object), stream: false } });
  await stream.until('"token_ids":[');
  await sleep(700);
  process.kill(processOfRole(engine, 'EngineCore').pid, 'SIGKILL');
  recorder.keep('core-killed-stream.http', await stream.done, 'kill -9 of EngineCore 0.7 s after the first token');
  recorder.keep(
    'core-killed-plain.http',
    await plain.done,
    'the same request with `"stream": false`, in flight at that moment',
  );
  const health = await exchange(engine.address, { method: 'GET', path: '/health' }).catch(() => undefined);
  if (health !== undefined) recorder.keep('core-killed-health.http', health, 'GET /health right after');
}

/** SIGTERM to the API server while a stream runs; `label` names the shutdown timeout. */
async function recordTerminated(recorder: Recorder, engine: Vllm, label: string, tokens: number): Promise<void> {
  const body = { ...(LONG_STREAM.body as object), max_tokens: tokens };
  const stream = open(engine.address, { ...LONG_STREAM, body, limitMs: 90_000 });
  await stream.until('"token_ids":[');
  await sleep(700);
  process.kill(engine.pid, 'SIGTERM');
  await sleep(500);
  const late = await exchange(engine.address, { ...LONG_STREAM, limitMs: 20_000 }).catch(() => undefined);
  if (late !== undefined)
    recorder.keep(`sigterm-${label}-late.http`, late, 'the same request sent 0.5 s after the signal');
  const how = 'SIGTERM to the API server 0.7 s after the first token';
  const ended = await stream.done.catch(() => undefined);
  const end = ended?.end ?? 'neither: the engine kept the connection open and silent, the client gave up after 90 s';
  recorder.save(`sigterm-${label}-stream.http`, stream.received(), how, end);
}

async function withEngine(options: VllmOptions, use: (engine: Vllm) => Promise<void>): Promise<void> {
  const engine = await startVllm(options);
  try {
    await use(engine);
  } finally {
    await engine.kill();
  }
}

async function main(): Promise<void> {
  const { SOPHIA_VLLM_VENV: venv, SOPHIA_VLLM_MODEL: model } = process.env;
  const out = process.argv[2];
  if (venv === undefined || model === undefined || out === undefined)
    throw new Error('see the head of this file for usage');
  const scratch = mkdtempSync(join(tmpdir(), 'vllm-record-'));
  const recorder = new Recorder(out, venv);
  try {
    const base = { venv, model };
    await Promise.all([
      withEngine({ ...base, logFile: join(scratch, 'a.log'), core: 0 }, async (engine) => {
        recorder.saveLog(
          'startup.log.txt',
          engine.log(),
          'standard output and error from start to the first 200 of /health',
        );
        await recordAnswers(recorder, engine, ORDINARY);
        await recordMetrics(recorder, engine);
        await recordKilledCore(recorder, engine);
        recorder.saveLog('core-killed.log.txt', lastLines(engine.log(), 6000), 'the end of the log after it');
      }),
      withEngine({ ...base, logFile: join(scratch, 'b.log'), core: 1, extraArgs: TOOL_PARSER }, async (engine) => {
        await recordAnswers(recorder, engine, TOOLS);
        await recordTerminated(recorder, engine, '0', 600);
      }),
    ]);
    const drain = ['--shutdown-timeout', '40', '--stream-interval', '8'];
    await withEngine({ ...base, logFile: join(scratch, 'c.log'), extraArgs: drain }, async (engine) => {
      const interval = await exchange(engine.address, {
        ...LONG_STREAM,
        body: { ...(LONG_STREAM.body as object), max_tokens: 40 },
      });
      recorder.keep(
        'chat-stream-interval-8.http',
        interval,
        'max_tokens 40, engine started with `--stream-interval 8`',
      );
      await recordTerminated(recorder, engine, '40', 120);
      recorder.saveLog('sigterm-40.log.txt', lastLines(engine.log(), 4000), 'the end of the log after it');
    });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  const rows = recorder.recordings.map(({ file, how, end }) => `| ${file} | ${how} | ${end} |`);
  writeFileSync(join(out, 'TABLE.md'), `| file | how it was made | end |\n|---|---|---|\n${rows.join('\n')}\n`);
}

await main();
