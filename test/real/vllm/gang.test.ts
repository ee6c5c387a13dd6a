/**
 * One real vLLM over three agents: a process tree each, found together by the flags that the scheduler sends, without Ray.
 * The model has nine heads, so it divides by three; the hosts are loopback addresses of this machine, and what they compute
 * together goes through gloo's TCP, as between hosts without GPUs.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { processFacts } from '../../../lib/io/processes.ts';
import { type GangMember, startGangFleet } from '../../support/gang_fleet.ts';
import { until } from '../../support/waits.ts';
import { READY_WITHIN_MS } from './supervised.ts';

/** Two starts of three vLLM each on a machine that may be busy. */
const WHOLE_LIMIT_MS = 1_440_000;
const ENDED_WITHIN_MS = 120_000;
const HOSTS = 3;

t.setTimeout(WHOLE_LIMIT_MS);
const { SOPHIA_VLLM_VENV: venv, SOPHIA_VLLM_MODEL: model } = process.env;
if (venv === undefined || model === undefined) throw new Error('run by `npm run test:real:vllm`, which prepares vLLM');

const scratch = mkdtempSync(join(tmpdir(), 'vllm-scratch-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
const gang = await startGangFleet(t, {
  hosts: HOSTS,
  model: 'smollm2',
  limitMs: READY_WITHIN_MS,
  env: { HF_HUB_OFFLINE: '1', TRANSFORMERS_OFFLINE: '1', TMPDIR: scratch },
  agent: {
    vllmCommand: join(venv, 'bin/vllm'),
    startTimeoutMs: READY_WITHIN_MS,
    warmTimeoutMs: 120_000,
    stopTimeoutMs: 15_000,
    probePeriodMs: 2000,
  },
});

const argumentsOf = (pid: number): string[] => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
const isAlive = async (pid: number): Promise<boolean> => (await processFacts(pid))?.alive === true;
const untilEnded = (members: readonly GangMember[]): Promise<void> =>
  until(
    async () => (await Promise.all(members.map(({ pid }) => isAlive(pid)))).every((alive) => !alive),
    'the end of all members',
    ENDED_WITHIN_MS,
  );

let before: GangMember[] = [];

t.test('three processes of one model find each other, and the leader answers what the model knows', async (t) => {
  await gang.declare({
    engine: 'vllm',
    model,
    servedModelName: 'smollm2',
    replicas: 1,
    hosts: HOSTS,
    gpusPerHost: 0,
    extraFlags: ['--max-model-len', '2048', '--dtype', 'float32', '--enforce-eager', '--tensor-parallel-size', '3'],
    environment: { VLLM_CPU_KVCACHE_SPACE: '1', VLLM_CPU_OMP_THREADS_BIND: '0' },
  });
  before = await gang.whole();
  t.match(await gang.ask(), /Paris/);
  const flags = before.map(({ pid }) => argumentsOf(pid));
  t.same(flags.map((args) => args[args.indexOf('--node-rank') + 1]).toSorted(), ['0', '1', '2']);
  t.same(
    flags.map((args) => args.includes('--headless')),
    [false, true, true],
  );
  t.same(
    before.map(({ routable }) => routable),
    [true, false, false],
  );
});

t.test('a killed member: its leader has nothing left to serve, and all of it comes again', async (t) => {
  const started = performance.now();
  process.kill((before[1] as GangMember).pid, 'SIGKILL');
  const now = await gang.whole(before);
  t.comment(`whole again after ${Math.round((performance.now() - started) / 1000)} s`);
  await untilEnded(before);
  t.match(await gang.ask(), /Paris/);
  t.match(
    (await gang.told()).findLast((line) => line.startsWith('action.taken')),
    /has failed.*SIGKILL/,
  );
  before = now;
});

t.test('deleted: every process ends', async (t) => {
  await gang.undeclare();
  await untilEnded(before);
  await until(async () => (await gang.members()).length === 0, 'nobody to speak of a member', ENDED_WITHIN_MS);
  t.match((await gang.told()).join('\n'), /its part on .* has stopped/);
  t.comment((await gang.told()).join('\n'));
});
