/** `sophia chat --direct`: the answer comes from the agent itself, and what is refused is said as a command says it. */
import t from 'tap';
import { makeHome, sophia } from './sophia.ts';
import { ready, up } from './up/started.ts';

t.setTimeout(300_000);

t.test('a chat goes past the scheduler where the agent takes direct calls, and is told where none does', async (t) => {
  const home = makeHome(t);
  const child = up(t, home, '--engines', '1', '--direct-port', '0');
  const banner = await ready(child);
  const relayed = await sophia(t, home, ['--json', 'chat', 'Hello', 'there']);
  const direct = await sophia(t, home, ['--json', 'chat', '--direct', 'Hello', 'there']);
  t.equal(direct.code, 0, direct.stderr);
  t.same(
    JSON.parse(direct.stdout.trim().split('\n').at(-1) as string),
    JSON.parse(relayed.stdout.trim().split('\n').at(-1) as string),
  );
  const metrics = await fetch(`${banner.url.replace('/v1', '')}/metrics`, {
    headers: { authorization: `Bearer ${banner.key}` },
  });
  t.match(await metrics.text(), /chat_requests_total\{[^}]*code="ok",door="direct"\} 1/);
  t.equal((await sophia(t, home, ['chat', '--direct', '--model', 'none', 'Hi'])).code, 1);
  child.signal('SIGINT');
  t.equal((await child.exited).code, 0);

  const without = up(t, home, '--engines', '1');
  await ready(without);
  const refused = await sophia(t, home, ['chat', '--direct', 'Hi']);
  t.equal(refused.code, 1);
  t.match(refused.stderr, /called directly/);
  without.signal('SIGINT');
  t.equal((await without.exited).code, 0);
});
