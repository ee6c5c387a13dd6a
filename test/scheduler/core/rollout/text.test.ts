/** Rollouts in words: what operators read says what happened, with its numbers. */
import t from 'tap';
import type { GateFacts, GateName, Reason, Verdict } from '../../../../scheduler/core/rollout/contract.ts';
import {
  historyLines,
  reasonText,
  rolloutSummary,
  statusLines,
  verdictText,
} from '../../../../scheduler/core/rollout/text.ts';
import { World } from './world.ts';

const NEW = 'bbbbbbbbbb';
const lines = (world: World): string[] =>
  statusLines('chat', world.state, { replicas: world.facts(), waiting: world.out.waiting, nowMs: world.nowMs });

t.test('each gate has a sentence with its numbers', async (t) => {
  const rate = { requests: 40, failed: 9, oldRequests: 300, oldFailed: 1, test: 'Fisher', p: 0.001 };
  const sentences: readonly (readonly [GateName, GateFacts, string])[] = [
    [
      'readiness',
      { replica: 'r', state: 'failed', restarts: 3, reason: 'no memory' },
      'readiness: replica r is failed after 3 restarts: no memory',
    ],
    ['readiness', { replica: 'r', state: 'starting', restarts: 0, reason: '' }, 'readiness: replica r is starting'],
    ['smoke', { replica: 'r' }, 'smoke: replica r has not answered its smoke prompt yet'],
    [
      'smoke',
      { replica: 'r', answer: 'no', wanted: 'OK' },
      'smoke: replica r answered "no", which does not contain "OK"',
    ],
    ['smoke', { replica: 'r', answer: '', wanted: '' }, 'smoke: replica r answered ""'],
    [
      'gpu_health',
      { replica: 'r', health: 'failed', reason: 'Xid 79' },
      'gpu_health: a GPU of replica r is failed: Xid 79',
    ],
    [
      'silence',
      { started: 12, waitedMs: 3_600_000 },
      'silence: 12 requests were sent to it and none had a word of answer in 60 min',
    ],
    ['error_rate', rate, 'error_rate: 9 of 40 requests failed, of the old revision 1 of 300 (Fisher, p = 0.001)'],
    [
      'error_rate',
      { ...rate, limit: 0.02 },
      'error_rate: 9 of 40 requests failed, the limit is 2 % (Fisher, p = 0.001)',
    ],
    ['rejections', rate, 'rejections: 9 of 40 requests were refused, of the old revision 1 of 300 (Fisher, p = 0.001)'],
    [
      'ttft',
      { medianMs: 300, oldMedianMs: 100, times: 20, oldTimes: 50, limit: 1.25, test: 'U', p: 0.001 },
      "ttft: its first token takes 300 ms in the median of 20, the old revision's 100 ms of 50; more than 1.25 times as long (U, p = 0.001)",
    ],
  ];
  for (const [gate, facts, sentence] of sentences) {
    t.equal(reasonText({ kind: 'gate', gate, facts }), sentence);
    t.equal(verdictText({ kind: 'fail', gate, facts } satisfies Verdict), sentence);
  }
  t.equal(verdictText({ kind: 'pass' }), 'passed');
  const others: readonly (readonly [Reason, string])[] = [
    [{ kind: 'deadline', afterMs: 60_000, waitingFor: 'x' }, 'it was not through after 60 s; it waited for x'],
    [{ kind: 'deadline', afterMs: 10_000_000, waitingFor: '' }, 'it was not through after 3 h'],
    [{ kind: 'operator', actor: 'eve', reason: '' }, 'eve undid it'],
    [{ kind: 'reverted' }, 'the deployment asks for the old revision again'],
  ];
  for (const [reason, sentence] of others) t.equal(reasonText(reason), sentence);
});

t.test('the status of a rollout says where it is, what it waits for and why it goes back', async (t) => {
  t.same(lines(Object.assign(new World({ kind: 'rolling' }, 1), { out: { waiting: [] } })), [
    'chat: there was no rollout',
    'revision: none',
  ]);
  t.same(historyLines(undefined), ['There was no rollout.']);
  t.equal(rolloutSummary(undefined), undefined);
  const first = new World({ kind: 'rolling' }, 1);
  first.tick();
  t.match(lines(first)[1], 'its first replicas start');
  t.same(historyLines(first.state), ['There was no rollout.']);
  const world = new World({ kind: 'canary', steps: [10], deadlineMs: 400_000 }, 2).begin();
  world.faults.set(NEW, 'errors');
  world.revision = NEW;
  world.load = 0;
  world.until(({ out }) => out.traffic.shares[0]?.weight === 10);
  world.tick([{ verb: 'pause', actor: 'eve', reason: 'a look' }]);
  const paused = lines(world);
  t.equal(paused[0], 'chat: canary rollout to bbbbbbbbbb from aaaaaaaaaa');
  t.equal(paused[1], 'phase: canary, step 1 of 1: 10 % of the requests');
  t.match(paused[2], /^paused by eve for 1 s: a look$/);
  t.match(
    paused.join('\n'),
    /rolled back if not through in 7 min\nreplicas:\n {2}bbbbbbbbbb: wanted 1, there 1, ready 1, may have requests 1\n {2}aaaaaaaaaa: wanted 2/,
  );
  t.match(rolloutSummary(world.state), /10 % of the requests, paused$/);
  world.load = 100;
  world.until(({ state }) => state?.running?.phase === 'rolling_back');
  t.match(lines(world).join('\n'), /phase: it is rolled back\nwhy: error_rate: \d+ of \d+ requests failed/);
  t.match(rolloutSummary(world.state), /it is rolled back \(error_rate/);
  world.until(({ state }) => state?.running === null);
  t.match(rolloutSummary(world.state), /^bbbbbbbbbb: rolled back, error_rate/);
  const [newest = '', oldest = ''] = historyLines(world.state);
  t.match(newest, /^1970-01-01 00:\d\d:\d\d {2}bbbbbbbbbb {2}canary {6}.* s {2}rolled back, error_rate/);
  t.match(oldest, /aaaaaaaaaa {2}canary .* done$/);
});

t.test('every phase has its words', async (t) => {
  const seen = new Set<string>();
  for (const kind of ['rolling', 'blue_green', 'canary'] as const) {
    const world = new World({ kind, stepMs: 1000 }, 2).begin();
    world.revision = NEW;
    world.until((now) => {
      if (now.state?.running !== null) seen.add((lines(now)[1] ?? '').replace(/\d+ %|step \d/, ''));
      return now.state?.running === null;
    });
    world.rollOut('cccccccccc', 'fails');
  }
  t.ok(seen.size >= 5, [...seen].join('; '));
});

t.test('a replica that waits is named', async (t) => {
  const world = new World({ kind: 'rolling' }, 1).begin();
  world.revision = NEW;
  world.tick();
  world.tick();
  t.match(lines(world).at(-1), /^waits for readiness: replica bbbbbbbbbb\/2 is starting$/);
});
