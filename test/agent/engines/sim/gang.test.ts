/** The simulated engine on several hosts: it serves when all are there, computes while all take part, and notices nothing. */
import { request } from 'node:http';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { parseConfig } from '../../../../agent/engines/sim/config.ts';
import { launchSim, type SimProcess, spawnSim } from './launch.ts';
import { until } from '../../../support/waits.ts';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const flags = (port: number, rank: number): string[] => [
  ...['--sim-itl-ms', '1', '--nnodes', '3', '--node-rank', String(rank)],
  ...['--master-addr', '127.0.0.1', '--master-port', String(port), ...(rank === 0 ? [] : ['--headless'])],
];

/** Whether an answer has come, and with which status. */
function ask(sim: SimProcess): { status: number | undefined; whole: boolean } {
  const answer: ReturnType<typeof ask> = { status: undefined, whole: false };
  const body = JSON.stringify({ model: 'sim', prompt: 'a', max_tokens: 4, ignore_eos: true });
  const headers = { 'content-type': 'application/json' };
  const call = request({ socketPath: sim.uds, path: '/v1/completions', method: 'POST', headers }, (response) => {
    answer.status = response.statusCode;
    response.resume();
    response.on('end', () => (answer.whole = true));
  });
  call.on('error', () => undefined);
  call.end(body);
  return answer;
}

const health = (sim: SimProcess): Promise<number | undefined> =>
  new Promise((resolve) => {
    const call = request({ socketPath: sim.uds, path: '/health' }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    call.on('error', () => resolve(undefined));
    call.end();
  });

t.test('three hosts serve as one', async (t) => {
  const port = await freePort();
  const early = spawnSim(t, flags(port, 1));
  const leader = spawnSim(t, flags(port, 0));
  await until(() => leader.log().includes('waiting for 2 members'), 'the leader to wait');
  t.equal(await health(leader), undefined, 'there is no door while one is missing');
  const member = spawnSim(t, flags(port, 2));
  await until(() => leader.log().includes('Application startup complete.'), 'the start');
  for (const one of [early, member]) t.match(one.log(), /rank \d has come to 127\.0\.0\.1/);
  const first = ask(leader);
  await until(() => first.whole, 'an answer');
  t.equal(first.status, 200);
  process.kill(member.apiPid, 'SIGSTOP');
  await sleep(2000);
  const held = ask(leader);
  await sleep(500);
  t.notOk(held.whole, 'nothing is computed without it');
  t.equal(await health(leader), 200, 'and nobody says so');
  process.kill(member.apiPid, 'SIGCONT');
  await until(() => held.whole, 'the rest');
  process.kill(leader.apiPid, 'SIGKILL');
  await leader.exited;
  t.equal(early.api.exitCode, null, 'the others outlive it');
  process.kill(early.apiPid, 'SIGTERM');
  t.same(await early.exited, [0, null]);
});

t.test('flags that contradict each other are refused', async (t) => {
  const config = (...args: string[]) => parseConfig(['--uds', '/x', ...args]);
  t.equal(config().gang, undefined);
  t.match(config('--nnodes', '2').gang, { size: 2, rank: 0, address: '127.0.0.1', port: 29_501, headless: false });
  t.throws(() => config('--nnodes', '2', '--node-rank', '2', '--headless'), { message: /--node-rank: 2 is not below/ });
  t.throws(() => config('--nnodes', '2', '--node-rank', '1'), { message: /--headless: all ranks but the first/ });
  t.throws(() => config('--headless'), { message: /--headless/ });
  t.match(parseConfig(['--nnodes', '2', '--node-rank', '1', '--headless']).gang, { rank: 1 }, 'a member needs no door');
});

t.test('a master port that is taken is said', async (t) => {
  const port = await freePort();
  const first = spawnSim(t, flags(port, 0));
  await until(() => first.log().includes('waiting for 2 members'), 'the first to listen');
  const second = spawnSim(t, flags(port, 0));
  t.same(await second.exited, [1, null]);
  t.match(second.log(), /EADDRINUSE/);
  await t.resolves(launchSim(t, ['--sim-unpaced']));
});
