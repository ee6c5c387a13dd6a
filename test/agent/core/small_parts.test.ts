/** The small pure parts of supervision: brakes, journals, estimates, GPU release, adoption, what is remembered. */
import t from 'tap';
import { specFromPlan, withKey } from '../../../agent/core/adoption.ts';
import { EMPTY_STATE, holdOf, withHold, withoutHold } from '../../../agent/core/agent_state.ts';
import { beginDrain, drainEtaMs } from '../../../agent/core/drain_estimate.ts';
import { judgeRelease } from '../../../agent/core/gpu_release.ts';
import { journalLine, needsRotation, parseJournal, remember } from '../../../agent/core/journal.ts';
import {
  brakeDelayMs,
  fullBrake,
  judgeRestart,
  judgeThreadRestart,
  takeRestart,
} from '../../../agent/core/restart_brake.ts';
import { estimateStart, recordStart, type StartHistory } from '../../../agent/core/start_estimate.ts';
import type { GpuSample, LaunchPlan } from '../../../agent/ports.ts';
import { seededRandom } from '../../../lib/rng.ts';

t.test('the brake of an engine: pauses that grow, and an end in a window', async (t) => {
  const policy = { maxRestarts: 2, windowMs: 1000, backoff: { baseMs: 100, capMs: 1000, minMs: 100 } };
  const none = { restarts: 0, restartTimesMs: [] };
  const first = judgeRestart(none, policy, 0, seededRandom(1));
  t.match(first, { kind: 'after', delayMs: 100, history: { restarts: 1, restartTimesMs: [0] } });
  t.match(judgeRestart({ restarts: 2, restartTimesMs: [0, 10] }, policy, 20, seededRandom(1)), {
    kind: 'give_up',
    inWindow: 2,
  });
  t.match(judgeRestart({ restarts: 2, restartTimesMs: [0, 10] }, policy, 1005, seededRandom(1)), { kind: 'after' });
  t.match(judgeRestart(none, { ...policy, maxRestarts: 0 }, 0, seededRandom(1)), { kind: 'give_up' });
});

t.test('the brake of the host: a burst at once, then one each period, with a bounded debt', async (t) => {
  const policy = { burst: 2, periodMs: 1000 };
  let brake = fullBrake(policy, 0);
  t.equal(brakeDelayMs(brake, policy, 0), 0);
  brake = takeRestart(takeRestart(brake, policy, 0), policy, 0);
  t.equal(brakeDelayMs(brake, policy, 0), 1000);
  t.equal(brakeDelayMs(brake, policy, 400), 600);
  t.equal(brakeDelayMs(brake, policy, 1000), 0);
  t.equal(brakeDelayMs(brake, policy, -5000), 1000, 'a clock that goes back gives nothing');
  for (let i = 0; i < 100; i++) brake = takeRestart(brake, policy, 0);
  t.equal(brakeDelayMs(brake, policy, 0), 3000);
});

t.test('a journal is read back whatever a crash made of its last line', async (t) => {
  const entry = { engine: 'e', state: 'ENGINE_STATE_READY', reason: 'serving' } as const;
  const line = journalLine(entry);
  t.same(parseJournal(line + line), { entries: [entry, entry], isTorn: false, badLines: 0 });
  for (let cut = 1; cut < line.length; cut++) {
    const torn = parseJournal(line + line.slice(0, cut));
    t.match(torn, { isTorn: true, badLines: 0 });
    t.equal(torn.entries.length, 1);
  }
  t.match(parseJournal(`\u0000\u0000\n[]\nnull\n{"engine":1}\n${line}`), { badLines: 4, entries: [entry] });
  t.same(parseJournal(''), { entries: [], isTorn: false, badLines: 0 });
  const limits = { maxEntries: 2, maxFileBytes: 10 };
  t.equal(remember([entry, entry], entry, limits).length, 2);
  t.equal(needsRotation(0, 100, limits), false, 'a line that is longer than a file is written');
  t.equal(needsRotation(5, 6, limits), true);
  t.equal(needsRotation(5, 5, limits), false);
});

t.test('an estimate of a start comes from milestones and from its own past', async (t) => {
  t.same(estimateStart({ elapsedMs: 10 }, []), { ratio: 0 });
  t.same(estimateStart({ elapsedMs: 10, milestone: { ratio: 0.4, atMs: 5 } }, []), { ratio: 0.4 });
  t.equal(estimateStart({ elapsedMs: 10, milestone: { ratio: 1, atMs: 5 } }, []).ratio, 0.99);
  const past = [100, 200, 300].map((totalMs) => ({ totalMs, marks: { '0.4': totalMs / 2 } }));
  t.same(estimateStart({ elapsedMs: 50 }, past), { ratio: 0.25, etaMs: 150 });
  t.same(estimateStart({ elapsedMs: 100, milestone: { ratio: 0.4, atMs: 100 } }, past), { ratio: 0.5, etaMs: 100 });
  t.same(estimateStart({ elapsedMs: 150, milestone: { ratio: 0.7, atMs: 100 } }, past), { ratio: 0.75, etaMs: 50 });
  t.same(estimateStart({ elapsedMs: 900 }, past), { ratio: 0.99, etaMs: 0 }, 'a late start is never done before it is');
  t.equal(estimateStart({ elapsedMs: 0 }, [{ totalMs: 0, marks: {} }]).ratio, 0);
  let history: StartHistory = {};
  for (let i = 0; i < 200; i++) history = recordStart(history, `k${i % 150}`, { totalMs: i, marks: {} });
  t.equal(Object.keys(history).length, 128);
  for (let i = 0; i < 20; i++) history = recordStart(history, 'k', { totalMs: i, marks: {} });
  t.same(
    history['k']?.map(({ totalMs }) => totalMs),
    [12, 13, 14, 15, 16, 17, 18, 19],
  );
});

t.test('an estimate of a drain comes from the rate so far', async (t) => {
  const watch = beginDrain(1000, 10);
  t.equal(drainEtaMs(watch, 10, 2000, 60_000), undefined);
  t.equal(drainEtaMs(watch, 5, 2000, 60_000), 1000);
  t.equal(drainEtaMs(watch, 1, 2000, 60_000), 111);
  t.equal(drainEtaMs(watch, 9, 2000, 3000), 2000, 'at most what is left');
  t.equal(drainEtaMs(watch, 0, 2000, 60_000), 0);
  t.equal(drainEtaMs(watch, 12, 2000, 60_000), undefined);
  t.equal(drainEtaMs(watch, 5, 1000, 60_000), undefined);
});

t.test('GPU memory is released when a sample from after the end lists no process of the engine', async (t) => {
  const sample = (atMs: number, pids?: readonly number[], source: GpuSample['source'] = 'nvml'): GpuSample => ({
    source,
    atMs,
    gpus: [{ index: 0, ...(pids === undefined ? {} : { processes: pids.map((pid) => ({ pid })) }) }],
  });
  const mine = new Set([7, 8]);
  t.equal(judgeRelease(sample(5, [7]), [0], mine, 10).kind, 'wait');
  t.match(judgeRelease(sample(11, [7, 9]), [0], mine, 10), { kind: 'held', message: /pid 7 on GPU 0/ });
  t.equal(judgeRelease(sample(11, [9]), [0], mine, 10).kind, 'released');
  t.match(judgeRelease(sample(11), [0], mine, 10), { kind: 'wait', message: /GPU 0 lists no processes/ });
  t.equal(
    judgeRelease(sample(11, [9]), [0, 1], mine, 10).kind,
    'wait',
    'a GPU that was not read is not known to be free',
  );
  t.equal(judgeRelease(sample(11, [7], 'none'), [0], mine, 10).kind, 'blind');
  t.equal(judgeRelease(sample(11, undefined, 'nvidia-smi'), [0], mine, 10).kind, 'blind', 'and never will');
  t.equal(judgeRelease(sample(11, [7], 'nvidia-smi'), [0], mine, 10).kind, 'held');
  const earlier: GpuSample = { source: 'nvml', atMs: 11, gpus: [{ index: 0, processes: [], processesAtMs: 9 }] };
  t.equal(judgeRelease(earlier, [0], mine, 10).kind, 'wait', 'the newest load says nothing of an older list');
});

t.test('an adopted engine that no order names is what its plan says', async (t) => {
  const limits = { startTimeoutMs: 1, drainTimeoutMs: 2, stopTimeoutMs: 3, maxRestarts: 4 };
  const plan: LaunchPlan = {
    engine: 'e',
    incarnation: 2,
    command: 'vllm',
    args: ['serve', 'org/m', '--uds', '/s', '--served-model-name', 'm'],
    environment: { CUDA_VISIBLE_DEVICES: '0,2' },
    workingDirectory: '/d',
    outputFile: '/d/o',
    address: { kind: 'unix', path: '/s' },
    specHash: 'h',
  };
  t.match(specFromPlan(plan, limits), {
    kind: 'vllm',
    model: 'org/m',
    servedModelName: 'm',
    gpuIds: [0, 2],
    hash: 'h',
    limits,
  });
  const own = (name: string, args: readonly string[]) =>
    specFromPlan(
      {
        ...plan,
        args: [`/app/engines/${name}/main.js`, ...args],
        environment: {},
        address: { kind: 'tcp', host: '127.0.0.1', port: 9 },
      },
      limits,
    );
  t.match(own('sim', ['--model', 'x']), { kind: 'sim', model: 'x', servedModelName: 'x', tcpPort: 9, gpuIds: [] });
  t.match(own('llama', []), { kind: 'llama', model: '' });
  t.match(specFromPlan({ ...plan, args: [] }, limits), { kind: 'llama' });
  const port = { ...plan, address: { kind: 'tcp', host: '127.0.0.1', port: 9 } } as const;
  t.match(withKey({ ...port, environment: { VLLM_API_KEY: 's' } }).address, { port: 9, apiKey: 's' });
  t.equal(withKey(port), port);
  t.equal(withKey(plan), plan);
});

t.test('drains are remembered by engine and for the node', async (t) => {
  const hold = { actor: 'ann', reason: '', sinceMs: 1 };
  const other = { ...hold, actor: 'bob' };
  const state = withHold({ ...EMPTY_STATE, nodeHold: other }, 'e', hold);
  t.equal(holdOf(state, 'e')?.actor, 'ann');
  t.equal(holdOf(state, 'f')?.actor, 'bob');
  t.equal(holdOf(withoutHold(state, 'e'), 'e')?.actor, 'bob');
});

t.test('a relay thread that has served comes back at once, one that never does after growing pauses', async (t) => {
  const pauses: number[] = [];
  let crashes = 0;
  for (let crash = 0; crash < 8; crash++) {
    const verdict = judgeThreadRestart(crashes, 100, 200);
    crashes = verdict.crashes;
    pauses.push(verdict.delayMs);
  }
  t.same(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  t.same(judgeThreadRestart(crashes, 2001, 200), { crashes: 1, delayMs: 200 });
  t.same(judgeThreadRestart(1, 2000, 200), { crashes: 2, delayMs: 400 }, 'two seconds are still a start');
});
