/** `sophia engine drain` and `sophia node drain`: what they show, and what ends their waiting. */
import t from 'tap';
import { readyEngine } from '../support/fake_agent.ts';
import { draining, lastObject, openCli } from './orders_cli.ts';

t.test('a drain tells what still runs and how to take it back', async (t) => {
  const { addAgent, run } = await openCli(t);
  const { session, commands } = await addAgent('node-a', ({ command, result }) => {
    session.event(command.verb === 'COMMAND_VERB_ENGINE_DRAIN' ? draining(3) : readyEngine('e0', 'm'));
    result();
  });
  const drained = await run('engine', 'drain', 'e0', '--reason', 'a new kernel');
  t.equal(drained.code, 0, drained.stderr);
  t.match(drained.stdout, /node-a\/e0 drains: 3 requests run, about 12 s left, for \d+ s, by order of anna/);
  t.match(drained.stdout, /sophia engine undrain node-a\/e0/);
  t.match(commands, [{ verb: 'COMMAND_VERB_ENGINE_DRAIN', engine: 'e0', reason: 'a new kernel', actor: 'test' }]);
  const json = await run('engine', 'drain', 'e0', '--json');
  t.match(lastObject(json.stdout), { name: 'node-a/e0', state: 'drains', drain: { runningRequests: 3 } });
  const undrained = await run('engine', 'undrain', 'e0');
  t.equal(undrained.stdout, 'node-a/e0 takes requests again.\n');
  t.match(commands.at(-1), { verb: 'COMMAND_VERB_ENGINE_UNDRAIN' });
});

t.test('--wait stays until nothing runs, Ctrl-C leaves the drain going, and a drain taken back is told', async (t) => {
  const { addAgent, start } = await openCli(t);
  const { session } = await addAgent('node-a', ({ result }) => {
    session.event(draining(3));
    result();
  });
  const waiting = start('engine', 'drain', 'e0', '--wait');
  await waiting.waitFor(/3 requests run/);
  session.event(draining(1));
  await waiting.waitFor(/1 request runs/);
  session.event(draining(0));
  t.equal((await waiting.exited).code, 0);
  t.match(waiting.stdout(), /node-a\/e0 is drained: nothing runs on it\./);

  const left = start('engine', 'drain', 'e0', '--wait');
  await left.waitFor(/3 requests run/);
  left.signal('SIGINT');
  t.equal((await left.exited).code, 130);
  t.match(left.stdout(), /the drain goes on\. Take it back with: sophia engine undrain node-a\/e0/);

  const undone = start('engine', 'drain', 'e0', '--wait');
  await undone.waitFor(/3 requests run/);
  session.event(readyEngine('e0', 'm'));
  t.equal((await undone.exited).code, 1);
  t.match(undone.stderr(), /was taken back/);
});

t.test('a node drains as a whole', async (t) => {
  const { addAgent, run, start } = await openCli(t);
  const { session, commands } = await addAgent('node-a', ({ command, result }) => {
    const on = command.verb === 'COMMAND_VERB_NODE_DRAIN';
    session.send({ nodeEvent: { draining: on, ...(on ? { drain: { runningRequests: 2 } } : {}) } });
    result();
  });
  const waiting = start('node', 'drain', 'node-a', '--wait', '--json');
  await new Promise((resolve) => setTimeout(resolve, 10));
  const shown = async (): Promise<string> => (await run('node', 'list')).stdout;
  while (!/node-a +drains/.test(await shown()));
  t.match((await run('node', 'show', 'node-a')).stdout, /drain: +2 requests run/);
  t.match((await run('engine', 'list')).stdout, /node_draining/);
  session.send({ nodeEvent: { draining: true, drain: { runningRequests: 0 } } });
  t.equal((await waiting.exited).code, 0);
  t.match(lastObject(waiting.stdout()), { name: 'node-a', state: 'drained' });
  t.equal((await run('node', 'undrain', 'node-a')).stdout, 'node-a takes requests again.\n');
  t.match(commands, [{ verb: 'COMMAND_VERB_NODE_DRAIN', engine: '' }, { verb: 'COMMAND_VERB_NODE_UNDRAIN' }]);
});
