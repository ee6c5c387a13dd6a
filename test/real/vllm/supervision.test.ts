/**
 * The agent's supervision against real vLLM: a scheduler and an agent as processes of their own, one engine, and the
 * faults that vLLM keeps to itself (its health stays 200 on a stopped core, its killed API server leaves orphans). The
 * engine's journal is printed at the end.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { LIFE_VARIABLE } from '../../../agent/core/launch_plan.ts';
import { WATCHDOG } from '../../../agent/core/watchdog.ts';
import type { EngineEvent__Output } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { Child } from '../../../lib/io/child.ts';
import { processFacts } from '../../../lib/io/processes.ts';
import { until } from '../../support/waits.ts';
import { groupProcesses, sharedMemoryOf } from './engine.ts';
import { metric } from './engine_view.ts';
import {
  ENGINE,
  endingOf,
  environmentValue,
  journalLines,
  READY_WITHIN_MS,
  startSupervised,
  type Supervised,
  treeOf,
} from './supervised.ts';

/** Five starts of vLLM on a machine that may be busy. */
const WHOLE_LIMIT_MS = 1_440_000;
const ENDED_WITHIN_MS = 60_000;
/** Longest answer that the model's context has room for. */
const ENDLESS = 1800;
/** How late the watchdog, its news and this test may be on a busy machine, beyond the bound that it named. */
const LATENESS_MS = 4_000;

t.setTimeout(WHOLE_LIMIT_MS);

/** Waits until the kernel has ended a process that was killed: on a busy machine its threads queue for that. */
const untilDead = (pid: number): Promise<void> =>
  until(async () => !(await isAlive(pid)), `the end of process ${pid}`, ENDED_WITHIN_MS);

const isAlive = async (pid: number): Promise<boolean> => (await processFacts(pid))?.alive === true;

/** Everything that the scheduler was told while the engine loads, until it serves. */
async function watchStart(run: Supervised, afterIncarnation: number): Promise<EngineEvent__Output[]> {
  const told: EngineEvent__Output[] = [];
  const endMs = performance.now() + READY_WITHIN_MS;
  for (;;) {
    const { event, routable } = await run.until('a word of the engine', (engine) => engine.event !== null);
    if (event !== null && event.incarnation > afterIncarnation && told.at(-1)?.atMs !== event.atMs) told.push(event);
    if (routable && (event?.incarnation ?? 0) > afterIncarnation) return told;
    if (performance.now() > endMs) throw new Error(`not ready: ${event?.state} ${event?.message}`);
    await sleep(50);
  }
}

const secondsBetween = (from: EngineEvent__Output | undefined, to: EngineEvent__Output | undefined): number =>
  Math.round(((to?.atMs ?? 0) - (from?.atMs ?? 0)) / 100) / 10;

/** Entries of the newest lives only, so that an earlier fault is not taken for this one's. */
async function since(run: Supervised, incarnation: number): Promise<readonly EngineEvent__Output[]> {
  return (await run.journal()).filter((entry) => entry.incarnation >= incarnation);
}

const pathOf = (event: EngineEvent__Output): { readonly path: string } => ({
  path: (event.address ?? '').slice('unix:'.length),
});

t.test('real vLLM under the agent', async (t) => {
  const run = await startSupervised(t);
  const steps: readonly (readonly [name: string, step: (t: Test, run: Supervised) => Promise<void>])[] = [
    ['the first start: checks, milestones, and one token before it may be picked', firstStart],
    ['every process of vLLM carries the mark of its life, readable from outside', lifeMark],
    ['a killed API server: told at once, orphans swept, restarted with an ETA', apiServerKilled],
    ['a killed EngineCore: a fault, explained, restarted', coreKilled],
    ['a stopped EngineCore: out of rotation within its bound, dumped, killed, restarted', coreStopped],
    ['a drain: live streams finish, the process ends, an undrain starts it again', drained],
    ['a killed agent: the next one finds the engine as it was', readopted],
  ];
  for (const [name, step] of steps) {
    await t.test(name, (t) => step(t, run));
    // Each step needs an engine that serves; without one the rest would only wait for their limits.
    if (!t.passing()) break;
  }
  t.comment(`journal of ${ENGINE}:`);
  for (const line of journalLines(await run.journal())) t.comment(line);
  await run.fleet.stop();
});

async function firstStart(t: Test, run: Supervised): Promise<void> {
  const told = await watchStart(run, 0);
  const ratios = told.filter(({ state }) => state === 'ENGINE_STATE_STARTING').map((event) => event.progressRatio ?? 0);
  t.same(
    ratios,
    ratios.toSorted((a, b) => a - b),
    'progress never goes back',
  );
  t.ok(new Set(ratios).size >= 4, [...new Set(ratios)].join(' '));
  const messages = [...new Set(told.map(({ message }) => message))];
  t.ok(messages.includes('The weights are read.'), messages.join(' | '));
  t.ok(
    told.every(({ etaMs }) => etaMs === undefined),
    'nothing is promised without a history',
  );
  t.ok(
    told.some(({ state }) => state === 'ENGINE_STATE_WARMING'),
    'it answers, and one token is asked of it',
  );
  const ready = told.at(-1) as EngineEvent__Output;
  t.match(ready.message, /gave its first token in \d+ ms/);
  t.equal(await metric(pathOf(ready), 'vllm:generation_tokens_total'), 1, 'vLLM itself has made that one token');
  const { checks } = (await since(run, 0)).findLast(({ checks }) => checks.length > 0) as EngineEvent__Output;
  t.match(
    checks.map(({ name, verdict }) => `${name} ${verdict}`),
    [/OK/],
  );
  for (const { name, verdict, detail } of checks) t.comment(`check ${name}: ${verdict.slice(14)} ${detail}`);
  for (const { progressRatio, message, atMs } of told)
    if (progressRatio !== undefined)
      t.comment(`${secondsBetween(told[0], { ...ready, atMs: atMs ?? 0 })} s: ${progressRatio} ${message}`);
}

async function lifeMark(t: Test, run: Supervised): Promise<void> {
  const { pid, incarnation } = await run.untilReady();
  const tree = treeOf(pid ?? 0);
  for (const { pid: one, name } of tree.all) t.comment(`process ${one}: ${name.slice(0, 90)}`);
  for (const [name, process] of Object.entries({ api: tree.api, core: tree.core, worker: tree.worker }))
    t.match(environmentValue(process.pid, LIFE_VARIABLE), new RegExp(`/${ENGINE}/${incarnation}$`), name);
}

async function apiServerKilled(t: Test, run: Supervised): Promise<void> {
  const { pid = 0, incarnation } = await run.untilReady();
  const streams = await run.streams(2, ENDLESS);
  const tree = treeOf(pid);
  const segments = tree.all.flatMap((process) => sharedMemoryOf(process.pid));
  t.ok(segments.length > 0, 'it has shared memory');
  const killedAtMs = Date.now();
  process.kill(pid, 'SIGKILL');
  const dead = untilDead(pid).then(() => Date.now() - killedAtMs);
  await run.until('out of rotation', ({ routable }) => !routable);
  const toldMs = Date.now() - killedAtMs;
  const endings = (await Promise.all(streams.map(({ whole }) => whole))).map(endingOf);
  t.same(endings, ['engine_died', 'engine_died']);
  await until(() => groupProcesses(pid).length === 0, 'the end of the orphans', ENDED_WITHIN_MS);
  const sweptMs = Date.now() - killedAtMs;
  const told = await watchStart(run, incarnation);
  for (const process of tree.all) t.notOk(await isAlive(process.pid), `${process.name.slice(0, 40)} is gone`);
  const entries = await since(run, incarnation);
  t.same(segments.filter(existsSync), [], 'its shared memory was given back');
  judgeDeath(t, entries, killedAtMs, await dead);
  t.comment(`out of rotation after ${toldMs} ms, tree empty after ${sweptMs} ms`);
  const estimates = told.filter(({ state, etaMs }) => state === 'ENGINE_STATE_STARTING' && etaMs !== undefined);
  t.ok(estimates.length >= 3, 'the second start has an ETA');
  for (const event of estimates.filter((_, at) => at % Math.ceil(estimates.length / 8) === 0))
    t.comment(
      `told ${Math.round((event.etaMs ?? 0) / 1000)} s, took ${secondsBetween(event, told.at(-1))} s (${event.message})`,
    );
}

/** What the journal must say of a killed API server that the kernel had ended after `deadMs`. */
function judgeDeath(t: Test, entries: readonly EngineEvent__Output[], killedAtMs: number, deadMs: number): void {
  const first = entries.find(({ state }) => state === 'ENGINE_STATE_STOPPING');
  const keptMs = (first?.atMs ?? 0) - killedAtMs;
  t.comment(`the kernel had ended it after ${deadMs} ms, the journal told ${first?.reason} after ${keptMs} ms`);
  const backoff = entries.find(({ state }) => state === 'ENGINE_STATE_BACKOFF');
  if (first?.reason === 'wedged') {
    // Until its last thread is gone it looks stopped; a machine so busy gives the watchdog the first word.
    t.ok(deadMs > WATCHDOG.floorMs / 2, 'only a slow death is taken for a wedge');
    t.equal(backoff?.cause, 'wedged');
    return;
  }
  t.match(first, { reason: 'crashed', signal: 'SIGKILL' });
  t.ok(keptMs - deadMs < 1_000, 'told at once');
  t.match(entries.find(({ reason }) => reason === 'orphans_killed')?.message, /^[2-9] processes outlived the engine/);
  t.equal(backoff?.cause, 'killed');
}

async function coreKilled(t: Test, run: Supervised): Promise<void> {
  const { pid = 0, incarnation } = await run.untilReady();
  const streams = await run.streams(4, ENDLESS);
  const killedAtMs = Date.now();
  process.kill(treeOf(pid).core.pid, 'SIGKILL');
  const endings = (await Promise.all(streams.map(({ whole }) => whole))).map(endingOf);
  t.comment(`streams ended by ${[...new Set(endings)].join(', ')} within ${Date.now() - killedAtMs} ms`);
  t.ok(
    endings.every((ending) => /^engine_(?:failed|died|aborted)$/.test(ending)),
    endings.join(', '),
  );
  await run.until('out of rotation', ({ routable }) => !routable);
  t.comment(`out of rotation after ${Date.now() - killedAtMs} ms`);
  await until(() => groupProcesses(pid).length === 0, 'the end of the tree', ENDED_WITHIN_MS);
  await run.untilReady(incarnation);
  const entries = await since(run, incarnation);
  // Whichever is seen first: the streams that it broke, or the end of the process itself.
  const seen = entries.find(({ reason }) => ['fault', 'crashed', 'unhealthy'].includes(reason));
  t.match(seen?.message, /broke [1-4] requests? without being asked|cannot do without has ended/);
  t.comment(`first seen after ${(seen?.atMs ?? 0) - killedAtMs} ms`);
  const failure = entries.find(({ state }) => state === 'ENGINE_STATE_BACKOFF');
  t.equal(failure?.cause, 'engine_core', `${failure?.reason}: ${failure?.message}`);
}

async function coreStopped(t: Test, run: Supervised): Promise<void> {
  const { pid = 0, incarnation } = await run.untilReady();
  const streams = await run.streams(4, ENDLESS);
  const stoppedAtMs = Date.now();
  process.kill(treeOf(pid).core.pid, 'SIGSTOP');
  await run.until('out of rotation', ({ routable }) => !routable);
  const detectedMs = Date.now() - stoppedAtMs;
  const endings = (await Promise.all(streams.map(({ whole }) => whole))).map(endingOf);
  t.ok(
    endings.every((ending) => /^(?:engine_\w+|stream_lost)$/.test(ending)),
    endings.join(', '),
  );
  await until(() => groupProcesses(pid).length === 0, 'the end of the tree', ENDED_WITHIN_MS);
  await run.untilReady(incarnation);
  const entries = await since(run, incarnation);
  const wedged = entries.find(({ reason }) => reason === 'wedged');
  const [, silentMs, boundMs] = /No progress for (\d+) ms, where (\d+) ms/.exec(wedged?.message ?? '') ?? [];
  t.ok(Number(boundMs) > 0, wedged?.message ?? 'no entry');
  t.ok(detectedMs <= Number(boundMs) + LATENESS_MS, `${detectedMs} ms, bound ${boundMs} ms, silence ${silentMs} ms`);
  t.comment(`out of rotation after ${detectedMs} ms (bound ${boundMs} ms)`);
  const dumped = entries.find(({ reason }) => reason === 'dumped');
  const dumps = join(pathOf({ ...(wedged as EngineEvent__Output) }).path, '..', 'dumps');
  const dump = readFileSync(join(dumps, readdirSync(dumps)[0] ?? ''), 'utf8');
  t.ok(dumped !== undefined && dump.includes('VLLM::EngineCore'), 'the dump names the stopped process');
  t.match(dump, /State:\s+T \(stopped\)/);
  t.match(dump, /vllm:num_requests_running/, 'and has the metrics');
  t.equal(entries.find(({ state }) => state === 'ENGINE_STATE_BACKOFF')?.cause, 'wedged');
}

async function drained(t: Test, run: Supervised): Promise<void> {
  const { pid = 0, incarnation } = await run.untilReady();
  const streams = await run.streams(3, 200);
  await run.sophia('engine', 'drain', ENGINE, '--reason', 'maintenance');
  const draining = await run.until('drains', ({ event }) => event?.state === 'ENGINE_STATE_DRAINING');
  t.match(draining, { routable: false, event: { drain: { reason: 'maintenance' } } });
  const told = await run.until('tells what still runs', ({ event }) => (event?.drain?.runningRequests ?? 0) > 0);
  t.comment(`drains: ${told.event?.drain?.runningRequests} requests, ETA ${told.event?.drain?.etaMs} ms`);
  const texts = await Promise.all(streams.map(({ whole }) => whole));
  t.same(texts.map(endingOf), ['done', 'done', 'done'], 'live streams finish');
  t.ok(
    texts.every((text) => text.includes('"finish_reason":"length"')),
    'to their natural end',
  );
  await run.until('stopped', ({ event }) => event?.state === 'ENGINE_STATE_STOPPED', ENDED_WITHIN_MS);
  t.same(groupProcesses(pid), [], 'no process is left');
  await run.sophia('engine', 'undrain', ENGINE);
  await run.untilReady(incarnation);
  const [stream] = await run.streams(1, 8);
  t.equal(endingOf((await stream?.whole) ?? ''), 'done');
}

async function readopted(t: Test, run: Supervised): Promise<void> {
  const { pid = 0, incarnation } = await run.untilReady();
  const tree = treeOf(pid);
  const address = pathOf((await run.untilReady()) as EngineEvent__Output);
  const made = (await metric(address, 'vllm:generation_tokens_total')) ?? 0;
  process.kill(run.fleet.agent.pid, 'SIGKILL');
  await run.fleet.agent.exited;
  await run.until('out of rotation', ({ routable }) => !routable);
  const startedAtMs = Date.now();
  const agent: Child = await run.fleet.restartAgent();
  const ready = await run.until('ready again', ({ routable }) => routable);
  t.comment(`served again ${Date.now() - startedAtMs} ms after the start of the next agent (${agent.pid})`);
  t.match(ready.event, { pid, incarnation, adopted: true, state: 'ENGINE_STATE_READY', reason: 'adopted' });
  t.same(
    treeOf(pid).all.map((one) => one.pid),
    tree.all.map((one) => one.pid),
    'the same processes',
  );
  const [stream] = await run.streams(1, 8);
  t.equal(endingOf((await stream?.whole) ?? ''), 'done', 'it serves');
  t.equal(await metric(address, 'vllm:generation_tokens_total'), made + 8, 'and goes on counting where it was');
}

type Test = Pick<typeof t, 'comment' | 'equal' | 'match' | 'notOk' | 'ok' | 'same'>;
