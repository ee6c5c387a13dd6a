/**
 * Usage and changes of keys as operators see them: a scheduler as a process with an engine, its embedded store and the
 * command line; requests that end well and badly, and a scheduler that is killed and started again.
 */
import t from 'tap';
import { makeHome, sophia } from '../cli/sophia.ts';
import { simEngine, startFleet } from '../support/fleet.ts';
import { until } from '../support/waits.ts';

t.setTimeout(120_000);

interface Sum {
  readonly tenant: string;
  readonly key: string;
  readonly outcome: string;
  readonly requests: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

t.test('usage outlives the kill of its scheduler, and each change of a key is in the log', async (t) => {
  const fleet = await startFleet(t, {
    engines: [simEngine({ name: 'e0', model: 'm', flags: ['--sim-itl-ms', '5'] })],
    scheduler: { usageFlushPeriodMs: 50, usageSettlePeriodMs: 200 },
  });
  const home = makeHome(t);
  const env = { SOPHIA_ENDPOINT: fleet.grpcAddress, SOPHIA_KEY: fleet.key };
  const run = async <Answer>(...args: string[]): Promise<Answer> => {
    const outcome = await sophia(t, home, [...args, '--json'], env);
    t.equal(outcome.code, 0, `${args.join(' ')}: ${outcome.stderr}`);
    return JSON.parse(outcome.stdout.trim().split('\n').at(-1) ?? '') as Answer;
  };
  const chat = (key: string, body: object = {}, signal?: AbortSignal) =>
    fetch(`${fleet.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hello' }], max_tokens: 4, ...body }),
      ...(signal === undefined ? {} : { signal }),
    });
  t.equal((await chat(fleet.key)).status, 200);
  // Nobody has needed the store yet; whoever makes a key needs it.
  const made = await run<{ key: { id: string }; secret: string }>(
    ...['key', 'create', '--name', 'bot', '--tenant', 'acme', '--reason', 'for the bot'],
  );
  t.equal((await chat(made.secret)).status, 200);
  const leaving = new AbortController();
  const left = await chat(made.secret, { stream: true, max_tokens: 4000 }, leaving.signal);
  await left.body?.getReader().read();
  leaving.abort();
  const spooled = async (): Promise<number> => {
    const text = await (
      await fetch(`${fleet.url}/metrics`, { headers: { authorization: `Bearer ${fleet.key}` } })
    ).text();
    return Number(/^sophia_usage_waiting_sums (\d+)/m.exec(text)?.[1] ?? -1);
  };
  const listed = () => run<{ rows: Sum[]; source: string }>('usage', 'list', '--since', '2h');
  await until(async () => (await listed()).rows.length === 3, 'three sums');
  t.equal((await chat(made.secret)).status, 200);
  await until(async () => (await spooled()) === 0, 'the last to be on the disk');
  process.kill(fleet.scheduler.pid, 'SIGKILL');
  await fleet.scheduler.exited;
  await fleet.restartScheduler();
  const { rows, source } = await listed();
  t.equal(source, 'store');
  const of = (outcome: string): Sum | undefined => rows.find((row) => row.tenant === 'acme' && row.outcome === outcome);
  t.match(of('ok'), { key: made.key.id, requests: 2, completionTokens: 8 });
  t.ok((of('ok')?.promptTokens ?? 0) > 0);
  t.match(of('cancelled'), { key: made.key.id, requests: 1 });
  t.ok((of('cancelled')?.completionTokens ?? 0) > 0, 'what was relayed of an answer that was left');
  t.match(await run('usage', 'list', '--by', 'tenant'), { rows: [{ tenant: 'acme', requests: 3 }, { requests: 1 }] });
  await run('key', 'revoke', made.key.id, '--reason', 'leaked');
  const { events } = await run<{ events: { kind: string; reason: string }[] }>('event', 'list', '--kind', 'key');
  t.match(
    events.filter(({ reason }) => ['for the bot', 'leaked'].includes(reason)),
    [
      { kind: 'access.granted', actor: /^key:/, reason: 'for the bot' },
      { kind: 'access.revoked', actor: /^key:/, reason: 'leaked' },
    ],
  );
  t.notMatch(JSON.stringify(events), made.secret.split('-').at(-1) ?? 'none');
  const table = await sophia(t, home, ['usage', 'list', '--by', 'key'], env);
  t.match(table.stdout, /TENANT +KEY +REQUESTS[^]*acme +\w{12} +3 /);
  t.equal((await sophia(t, home, ['usage', 'list', '--since', 'yesterday'], env)).code, 2);
});
