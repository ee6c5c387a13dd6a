/** A person's orders to an agent: each verb, what it refuses, and what it leaves in the journal. */
import t from 'tap';
import { createCommandRunner, type CommandParts } from '../../agent/run_loop/commands.ts';
import type { Command__Output } from '../../proto/gen/fleet/v1/Command.ts';
import { createFixture, type Fixture, SIM_SPEC } from './support/loop_fixture.ts';

type Parts = Omit<CommandParts, 'loop'>;

async function setup(parts: Parts = {}): Promise<{
  fixture: Fixture;
  give: (
    verb: string,
    change?: Partial<Command__Output>,
  ) => Promise<{ code?: string; message?: string; param?: string }>;
  outputs: { journal?: unknown[] }[];
}> {
  const fixture = createFixture();
  await fixture.loop.restore();
  fixture.desire(1, [SIM_SPEC]);
  await fixture.clock.pass(500);
  const runner = createCommandRunner({ loop: fixture.loop, ...parts });
  const outputs: { journal?: unknown[] }[] = [];
  const sink = {
    output: (output: object) => void outputs.push(output),
    signal: new AbortController().signal,
  };
  const give = async (verb: string, change: Partial<Command__Output> = {}) => {
    const command = {
      id: '1',
      verb: `COMMAND_VERB_${verb}`,
      engine: 'e1',
      actor: 'ann',
      reason: 'why\u001b[31m',
      loraName: '',
      loraPath: '',
      follow: false,
      targetId: '',
      ...change,
    } as Command__Output;
    const result = runner.run(command, sink);
    await fixture.clock.pass(200);
    return result;
  };
  return { fixture, give, outputs };
}

t.test('drain and release of an engine', async (t) => {
  const { fixture, give } = await setup();
  t.match(await give('ENGINE_DRAIN'), { code: '' });
  await fixture.clock.pass(1000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_STOPPED', drain: { actor: 'ann', reason: 'why [31m' } });
  t.match(await give('ENGINE_RESTART'), { code: 'draining' });
  t.match(await give('ENGINE_UNDRAIN'), { code: '' });
  await fixture.clock.pass(1000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
  t.match(await give('ENGINE_DRAIN', { engine: 'nobody' }), { code: 'not_found', param: 'engine' });
  t.match(await give('ENGINE_DRAIN', { engine: '__proto__' }), { code: 'not_found' });
});

t.test('drain and release of the node', async (t) => {
  const { fixture, give } = await setup();
  t.match(await give('NODE_DRAIN'), { code: '' });
  await fixture.clock.pass(1000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_STOPPED');
  t.match(await give('ENGINE_UNDRAIN'), { code: 'draining' });
  await give('ENGINE_DRAIN');
  t.match(await give('ENGINE_UNDRAIN'), { code: '', message: /once the node is/ });
  t.match(await give('NODE_UNDRAIN', { actor: '' }), { code: '' });
  await fixture.clock.pass(1000);
  t.equal(fixture.latest('e1')?.state, 'ENGINE_STATE_READY');
});

t.test('a restart lets requests end and names who ordered it', async (t) => {
  const { fixture, give } = await setup();
  t.match(await give('ENGINE_RESTART'), { code: '' });
  await fixture.clock.pass(2000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', incarnation: 2, restarts: 0 });
  t.match(fixture.journal.find((entry) => entry.reason === 'restart_ordered')?.message, /by ann: why/);
  fixture.quarantined = [];
  fixture.loop.send('e1', { kind: 'quarantine', message: 'GPU 0' });
  t.match(await give('ENGINE_RESTART', { reason: '' }), { code: 'draining' });
});

t.test('sleep takes the engine out of rotation, wake brings it back', async (t) => {
  const { fixture, give } = await setup();
  t.match(await give('ENGINE_SLEEP', { sleepLevel: 3 }), { code: 'invalid_value', param: 'sleep_level' });
  t.match(await give('ENGINE_SLEEP', { sleepLevel: 2 }), { code: '' });
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_DRAINING', reason: 'asleep' });
  t.match(fixture.targets, [{ engine: 'e1', draining: true }]);
  t.match(await give('ENGINE_SLEEP'), { code: '', message: /already/ });
  t.match(await give('ENGINE_WAKE'), { code: '' });
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY' });
  t.same(fixture.verbs, [{ kind: 'sleep', level: 2 }, { kind: 'wake' }]);
  t.equal(fixture.journal.filter((entry) => entry.reason === 'order').length, 2);
});

t.test('a sleep that the engine cannot, or that requests keep away, changes nothing', async (t) => {
  const { fixture, give } = await setup();
  fixture.verb = { kind: 'unsupported', message: 'no route' };
  t.match(await give('ENGINE_SLEEP'), { code: 'not_supported', message: 'no route' });
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY' });
  t.match(await give('ENGINE_WAKE'), { code: 'not_supported' });
  fixture.progress('e1', { open: 1, stalled: 1 });
  const waiting = give('ENGINE_SLEEP');
  await fixture.clock.pass(6000);
  t.match(await waiting, { code: 'overloaded' });
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY' });
});

t.test('adapters and the prefix cache', async (t) => {
  const { fixture, give } = await setup();
  const load = (loraName: string, loraPath: string) => give('LORA_LOAD', { loraName, loraPath });
  t.match(await load('a', '/models/a'), { code: '' });
  t.match(await load('a', 'org/adapter'), { code: '' });
  t.match(await load('', '/models/a'), { code: 'invalid_value', param: 'lora_name' });
  t.match(await load('a', ''), { code: 'missing_field', param: 'lora_path' });
  t.match(await load('a', '/models/evil-link'), { code: 'invalid_value', param: 'lora_path' });
  t.match(await load('a', '../x'), { code: 'invalid_value', param: 'lora_path' });
  t.match(await give('LORA_UNLOAD', { loraName: 'a' }), { code: '' });
  t.match(await give('LORA_UNLOAD', { loraName: '-a' }), { code: 'invalid_value' });
  t.match(await give('PREFIX_CACHE_RESET'), { code: '' });
  fixture.verb = { kind: 'failed', message: 'no such adapter' };
  t.match(await give('LORA_UNLOAD', { loraName: 'a' }), { code: 'engine_failed', message: 'no such adapter' });
  await give('ENGINE_DRAIN');
  await fixture.clock.pass(1000);
  t.match(await give('PREFIX_CACHE_RESET'), { code: 'no_engine', message: /stopped/ });
  t.match(await give('ENGINE_SLEEP'), { code: 'no_engine' });
});

t.test('the journal comes in order, also of an engine that is gone', async (t) => {
  const { fixture, give, outputs } = await setup();
  for (let i = 0; i < 60; i++) fixture.journal.push({ engine: 'old', state: 'ENGINE_STATE_STOPPED', reason: `r${i}` });
  t.match(await give('ENGINE_JOURNAL', { engine: 'old' }), { code: '', message: '60 entries.' });
  t.same(
    outputs.map(({ journal }) => journal?.length),
    [50, 10],
  );
  t.match(await give('ENGINE_JOURNAL', { engine: '../../etc' }), { code: 'not_found' });
  t.match(await give('ENGINE_JOURNAL', { engine: 'none' }), { code: 'not_found' });
});

t.test('what is not wired, not known or fails is an answer with a code', async (t) => {
  const { give } = await setup();
  t.match(await give('ENGINE_LOGS'), { code: 'not_supported' });
  t.match(await give('GPU_RELEASE'), { code: 'missing_field', param: 'gpu' });
  t.match(await give('GPU_RELEASE', { gpu: 0 }), { code: 'not_supported' });
  t.match(await give('CANCEL'), { code: 'not_supported' });
  t.match(await give('toString'), { code: 'not_supported' });
  const wired = await setup({
    logs: () => Promise.reject(new Error('broken')),
    releaseGpu: (gpu, actor, reason) => ({ code: '', message: `${gpu} ${actor} ${reason}`, param: '' }),
  });
  t.match(await wired.give('ENGINE_LOGS'), { code: 'internal' });
  t.match(await wired.give('GPU_RELEASE', { gpu: 2 }), { message: '2 ann why [31m' });
});
