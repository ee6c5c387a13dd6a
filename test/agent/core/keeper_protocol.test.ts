/** The words between an agent and a keeper: what is written is read again, and anything else is refused. */
import fc from 'fast-check';
import t from 'tap';
import {
  decodeAnswer,
  decodeLaunch,
  decodeState,
  encodeLaunch,
  exitOf,
  type KeeperLaunch,
  startFailure,
} from '../../../agent/core/keeper_protocol.ts';

const LAUNCH: KeeperLaunch = {
  engine: 'one',
  incarnation: 3,
  specHash: 'abc',
  folder: '/data/engines/one',
  output: '/data/engines/one/output.log',
  outputMaxBytes: 65_536,
  tailBytes: 4096,
  lingerMs: 0,
  args: ['vllm', 'serve', '', 'a b\nc'],
  environment: { PATH: '/bin', EMPTY: '', 'WITH SPACE': 'x=y' },
};

const word = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((text) => !text.includes('\0'));
const name = word.filter((text) => text !== '' && !text.includes('=') && text !== '__proto__');

t.test('a launch file says what was put into it', async (t) => {
  t.same(decodeLaunch(encodeLaunch(LAUNCH)), LAUNCH);
  fc.assert(
    fc.property(fc.array(word, { maxLength: 5 }), fc.dictionary(name, word, { maxKeys: 5 }), (args, environment) => {
      const launch = { ...LAUNCH, args: ['program', ...args], environment: { ...environment } };
      t.same(decodeLaunch(encodeLaunch(launch)), launch);
    }),
    { numRuns: 200 },
  );
});

t.test('a word that no process can be given is refused', async (t) => {
  for (const bad of [
    { args: ['a\0b'] },
    { environment: { A: 'b\0c' } },
    { environment: { '': 'x' } },
    { environment: { 'A=B': 'x' } },
    { folder: 'a\0b' },
  ])
    t.throws(() => encodeLaunch({ ...LAUNCH, ...bad }), { code: 'invalid_spec' });
});

t.test('a launch file that was cut anywhere is none', async (t) => {
  const text = encodeLaunch(LAUNCH);
  for (let length = 0; length < text.length; length++) t.equal(decodeLaunch(text.slice(0, length)), undefined);
});

t.test('nor is one of another version, with a strange record or without one that is needed', async (t) => {
  const records = encodeLaunch(LAUNCH).split('\0');
  const joined = (change: (all: string[]) => string[]): string => change([...records]).join('\0');
  t.equal(decodeLaunch(joined((all) => ['sophia-launch 2', ...all.slice(1)])), undefined);
  t.equal(decodeLaunch(joined((all) => [all[0] as string, 'strange=1', ...all.slice(1)])), undefined);
  t.equal(decodeLaunch(joined((all) => [all[0] as string, 'env=x', ...all.slice(1)])), undefined);
  t.equal(decodeLaunch(joined((all) => [all[0] as string, 'no record', ...all.slice(1)])), undefined);
  for (const key of ['engine', 'incarnation', 'hash', 'folder', 'output', 'outputMaxBytes', 'tailBytes', 'lingerMs'])
    t.equal(decodeLaunch(joined((all) => all.filter((record) => !record.startsWith(`${key}=`)))), undefined, key);
  t.equal(decodeLaunch(joined((all) => all.filter((record) => !record.startsWith('arg=')))), undefined);
  t.equal(decodeLaunch(encodeLaunch({ ...LAUNCH, args: [''] })), undefined);
});

const REPORT = {
  t: 'hello',
  version: 1,
  kind: 'native',
  phase: 'running',
  keeperPid: 10,
  keeperTicks: '123',
  enginePid: 11,
  engineTicks: '124',
  bootId: 'b',
  engine: 'one',
  incarnation: 3,
  specHash: 'abc',
  startedAtMs: 1,
  outputBytes: 0,
  droppedBytes: 0,
};
const EXIT = { atMs: 5, wallMs: 4, orphansKilled: 1, exitCode: 3, unkillable: [], lastLines: 'bye' };
const line = (more: object = {}): string => JSON.stringify({ ...REPORT, ...more });

t.test('each answer of a keeper is told from the others', async (t) => {
  t.same(decodeAnswer(line()), { kind: 'report', report: REPORT });
  t.same(decodeAnswer('{"t":"pids","pids":[2,3]}'), { kind: 'pids', pids: [2, 3] });
  t.same(decodeAnswer('{"t":"ok","did":"term"}'), { kind: 'ok', did: 'term' });
  t.same(decodeAnswer('{"t":"error","message":"no"}'), { kind: 'error', message: 'no' });
});

t.test('a report without sense is none', async (t) => {
  const bad: readonly object[] = [
    { version: 2 },
    { kind: 'other' },
    { phase: 'dancing' },
    { keeperPid: 1 },
    { keeperPid: -4 },
    { keeperPid: '10' },
    { keeperTicks: 123 },
    { engineTicks: '12x' },
    { enginePid: 1.5 },
    { enginePid: 0 },
    { incarnation: 0 },
    { specHash: null },
    { engine: undefined },
    { phase: 'failed' },
    { phase: 'ended' },
    { exit: EXIT },
    { phase: 'ended', exit: { ...EXIT, signal: 'rm -rf' } },
    { phase: 'ended', exit: { ...EXIT, exitCode: -1 } },
    { phase: 'ended', exit: { ...EXIT, unkillable: [0] } },
    { phase: 'ended', exit: { ...EXIT, lastLines: 4 } },
    { phase: 'ended', exit: [] },
  ];
  for (const more of bad) t.equal(decodeAnswer(line(more)), undefined, JSON.stringify(more));
  for (const text of ['', 'x', '[]', 'null', '4', '{}', '{"t":"ok"}', '{"t":"pids","pids":[1]}', '{"t":"error"}'])
    t.equal(decodeAnswer(text), undefined, text);
  t.equal(decodeState('{"t":"ok","did":"ack"}'), undefined, 'an answer is no state');
});

t.test('an end is told in the words of the port', async (t) => {
  const ended = decodeState(line({ phase: 'ended', exit: EXIT }));
  t.ok(ended);
  if (ended === undefined) return;
  t.same(exitOf(ended), { exitCode: 3, atMs: 5, lastLines: 'bye', orphansKilled: 1 });
  const { exitCode: _, ...rest } = EXIT;
  const killed = decodeState(line({ phase: 'sweeping', exit: { ...rest, signal: 'SIGKILL' } }));
  t.match(killed === undefined ? undefined : exitOf(killed), { signal: 'SIGKILL' });
  const running = decodeState(line());
  t.equal(running === undefined ? 'none' : exitOf(running), undefined);
});

t.test('why a program did not start is a sentence, or the name of the error', async (t) => {
  t.equal(startFailure('ENOENT'), 'there is no such program');
  t.equal(startFailure('EXYZ'), 'EXYZ');
});
