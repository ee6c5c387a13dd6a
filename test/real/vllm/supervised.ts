/**
 * A fleet with one real vLLM under the project's own agent: what the tests of supervision do to it, and what they read
 * from it. Everything is asked through doors that an operator has: the admin API, the command line, HTTP.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Engine__Output } from '../../../proto/gen/admin/v1/Engine.ts';
import type { EngineEvent__Output } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import { type Home, makeHome, sophia } from '../../cli/sophia.ts';
import { startFleet, type TestFleet } from '../../support/fleet.ts';
import { type GroupProcess, groupProcesses } from './engine.ts';

export const ENGINE = 'vllm-0';
export const MODEL = 'smollm2';

const POLL_MS = 50;
/** Imports alone take a minute on an idle machine, and several on a busy one. */
export const READY_WITHIN_MS = 480_000;
const STREAM_LIMIT_MS = 300_000;

/** The part of a tap test that is used. */
interface Owner {
  teardown(task: () => unknown): void;
  comment(text: string): void;
}

export interface Supervised {
  readonly fleet: TestFleet;
  /** Runs `sophia` with the fleet's key and gives what it printed. @throws Error with its complaint when it fails */
  sophia(...args: readonly string[]): Promise<string>;
  /** The engine as the scheduler knows it. */
  engine(): Promise<Engine__Output>;
  /** The engine's own journal, oldest first. */
  journal(): Promise<readonly EngineEvent__Output[]>;
  /** Waits until the scheduler's picture of the engine fits. @throws Error that says what it was instead */
  until(what: string, fits: (engine: Engine__Output) => boolean, limitMs?: number): Promise<Engine__Output>;
  /** The engine serves and may be picked. */
  untilReady(afterIncarnation?: number): Promise<EngineEvent__Output>;
  /** Opens streams and waits until each has sent a few tokens. */
  streams(count: number, maxTokens: number): Promise<readonly Stream[]>;
}

/** One answer in flight. */
export interface Stream {
  readonly received: () => string;
  /** Everything that came; never rejects: a connection that is cut is part of the text. */
  readonly whole: Promise<string>;
  readonly tokens: () => number;
}

/** Starts the fleet; the engine has only begun to load when this returns. */
export async function startSupervised(owner: Owner): Promise<Supervised> {
  const { SOPHIA_VLLM_VENV: venv, SOPHIA_VLLM_MODEL: model } = process.env;
  if (venv === undefined || model === undefined)
    throw new Error('run by `npm run test:real:vllm`, which prepares vLLM');
  const scratch = mkdtempSync(join(tmpdir(), 'vllm-scratch-'));
  const fleet = await startFleet(owner, {
    engines: [
      {
        name: ENGINE,
        kind: 'vllm',
        model,
        servedModelName: MODEL,
        extraFlags: ['--max-model-len', '2048', '--dtype', 'float32', '--enforce-eager'],
        environment: { VLLM_CPU_KVCACHE_SPACE: '1', VLLM_CPU_OMP_THREADS_BIND: '0' },
      },
    ],
    // The engine inherits these of the agent; its temporary files go with the test.
    env: { HF_HUB_OFFLINE: '1', TRANSFORMERS_OFFLINE: '1', TMPDIR: scratch },
    agent: {
      vllmCommand: join(venv, 'bin/vllm'),
      gpuReader: 'none',
      startTimeoutMs: READY_WITHIN_MS,
      drainTimeoutMs: 240_000,
      stopTimeoutMs: 15_000,
      probePeriodMs: 2000,
    },
    // What becomes of a stream is to be seen as the agent tells it; failover.test.ts is about what the scheduler makes of it.
    scheduler: { failoverMaxAttempts: 1 },
    awaitRoutable: 0,
  });
  owner.teardown(() => rmSync(scratch, { recursive: true, force: true }));
  return supervise(owner, fleet, makeHome(owner));
}

function supervise(owner: Owner, fleet: TestFleet, home: Home): Supervised {
  const run = async (...args: readonly string[]): Promise<string> => {
    const env = { SOPHIA_KEY: fleet.key };
    const said = await sophia(owner, home, ['--endpoint', fleet.grpcAddress, ...args], env);
    if (said.code !== 0) throw new Error(`sophia ${args.join(' ')}: ${said.stderr}`);
    return said.stdout;
  };
  const engine = async (): Promise<Engine__Output> =>
    (await fleet.admin<{ engine: Engine__Output }>('GetEngine', { name: ENGINE })).engine;
  const until: Supervised['until'] = async (what, fits, limitMs = 60_000) => {
    const endMs = performance.now() + limitMs;
    let last: Engine__Output | undefined;
    for (;;) {
      // Unknown until the agent's first word has come.
      last = await engine().catch(() => last);
      if (last !== undefined && fits(last)) return last;
      if (performance.now() > endMs) {
        const is = `${last?.event?.state} (${last?.event?.reason}): ${last?.event?.message}`;
        throw new Error(`${ENGINE}: ${what}: not within ${limitMs} ms; it is ${is}`);
      }
      await sleep(POLL_MS);
    }
  };
  return {
    fleet,
    sophia: run,
    engine,
    until,
    async journal() {
      const lines = (await run('--json', 'engine', 'show', ENGINE)).trim().split('\n');
      return (JSON.parse(lines.at(-1) ?? '') as { journal: EngineEvent__Output[] }).journal;
    },
    async untilReady(afterIncarnation = 0) {
      const fits = ({ routable, event }: Engine__Output): boolean =>
        routable && (event?.incarnation ?? 0) > afterIncarnation;
      const { event } = await until(`ready after life ${afterIncarnation}`, fits, READY_WITHIN_MS);
      return event as EngineEvent__Output;
    },
    async streams(count, maxTokens) {
      const opened = Array.from({ length: count }, (_, at) => openStream(fleet, maxTokens, `Count from ${at}: `));
      const endMs = performance.now() + STREAM_LIMIT_MS;
      while (!opened.every((stream) => stream.tokens() >= 3)) {
        if (performance.now() > endMs) throw new Error(`no tokens: ${opened.map((one) => one.received()).join('\n')}`);
        await sleep(POLL_MS);
      }
      return opened;
    },
  };
}

function openStream(fleet: TestFleet, maxTokens: number, prompt: string): Stream {
  const body = { model: MODEL, prompt, stream: true, max_tokens: maxTokens, temperature: 0, ignore_eos: true };
  const headers = { authorization: `Bearer ${fleet.key}`, 'content-type': 'application/json' };
  let text = '';
  const whole = new Promise<string>((resolve) => {
    const options = { host: '127.0.0.1', port: fleet.httpPort, path: '/v1/completions', method: 'POST', headers };
    const request = http.request({ ...options, agent: false, timeout: STREAM_LIMIT_MS }, (response) => {
      response.setEncoding('utf8');
      response.on('data', (piece: string) => (text += piece));
      response.on('error', (error) => (text += `\n(${error.message})`));
      response.on('close', () => resolve(text));
    });
    request.on('timeout', () => request.destroy(new Error('silent for too long')));
    request.on('error', (error) => resolve(`${text}\n(${error.message})`));
    request.end(JSON.stringify(body));
  });
  return { received: () => text, whole, tokens: () => text.split('"text":').length - 1 };
}

/** The code that ended a stream, `done` for one that is whole, or its last words. */
export function endingOf(text: string): string {
  const code = /"code":"(\w+)"/.exec(text)?.[1];
  if (code !== undefined) return code;
  return /data: \[DONE\]\s*$/.test(text) ? 'done' : text.slice(-200);
}

/** The processes of a running engine. @throws Error when one of vLLM's three is not there */
export function treeOf(enginePid: number): {
  readonly api: GroupProcess;
  readonly core: GroupProcess;
  readonly worker: GroupProcess;
  readonly all: readonly GroupProcess[];
} {
  const all = groupProcesses(enginePid);
  const named = (start: string): GroupProcess => {
    const found = all.find(({ name }) => name.startsWith(start));
    if (found === undefined)
      throw new Error(`no ${start} among ${all.map(({ name }) => name.slice(0, 60)).join('; ')}`);
    return found;
  };
  const api = all.find(({ pid }) => pid === enginePid);
  if (api === undefined) throw new Error(`the engine's first process ${enginePid} is gone`);
  return { api, core: named('VLLM::EngineCore'), worker: named('VLLM::Worker'), all };
}

/** The value of a variable in the environment that /proc shows of a process; undefined: not there. */
export function environmentValue(pid: number, name: string): string | undefined {
  return readFileSync(`/proc/${pid}/environ`, 'utf8')
    .split('\0')
    .find((entry) => entry.startsWith(`${name}=`))
    ?.slice(name.length + 1);
}

/** Lines of a journal for a person: time, life, state, reason, cause, message. */
export function journalLines(journal: readonly EngineEvent__Output[]): string[] {
  return journal.map(({ atMs, incarnation, state, reason, cause, message, exitCode, signal }) => {
    const time = new Date(atMs ?? 0).toISOString().slice(11, 23);
    const end = [exitCode === undefined ? '' : `exit ${exitCode}`, signal ?? '']
      .filter((part) => part !== '')
      .join(' ');
    const what = [cause, end].filter((part) => part !== '').join(', ');
    const word = state.replace('ENGINE_STATE_', '').toLowerCase();
    return `${time}  life ${incarnation}  ${word.padEnd(9)} ${reason}${what === '' ? '' : ` [${what}]`}: ${message}`;
  });
}
