/**
 * Two schedulers, one log, two agents that hold sessions to both. The leader is paused for longer than its lease, and
 * killed: the other takes over in seconds, what the old one still says is refused by the store and by the agents, and
 * nothing is started twice.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { childEnv } from '../../support/child.ts';
import { openTestStore } from '../../support/control/control_scheduler.ts';
import type { Question } from '../../support/control/main.ts';
import { declare, makeControlWorld, simDeployment } from '../../support/control/world.ts';
import type { DeploymentStatus } from '../../../scheduler/core/resources/contract.ts';
import { until } from '../../support/waits.ts';

const MAIN = fileURLToPath(new URL('../../support/control/main.js', import.meta.url));
const LIMIT_MS = 40_000;
const TTL_MS = 1500;
const ROUNDS = 3;

interface State {
  readonly leader: { readonly isLeader: boolean; readonly holder: string | undefined; readonly epoch: number };
  readonly statuses: Readonly<Record<string, DeploymentStatus | null>>;
  readonly engines: readonly string[];
}

interface Process {
  readonly id: string;
  readonly pid: number;
  readonly port: number;
  readonly log: () => string;
  ask<Answer>(question: Question): Promise<Answer>;
  state(...names: string[]): Promise<State>;
  signal(signal: NodeJS.Signals): void;
}

async function startProcess(t: Test, root: string, id: string, port = 0): Promise<Process> {
  const logFile = path.join(root, `${id}.log`);
  const log = openSync(logFile, 'a', 0o600);
  const options = { root, id, port, settings: { leaseTtlMs: TTL_MS } };
  const child: ChildProcess = spawn(process.execPath, ['--enable-source-maps', MAIN, JSON.stringify(options)], {
    stdio: ['ignore', log, log, 'ipc'],
    env: childEnv(),
  });
  closeSync(log);
  t.teardown(() => void child.kill('SIGKILL'));
  const waiting = new Map<number, (value: unknown) => void>();
  const ready = new Promise<number>((resolve, reject) => {
    child.once('exit', () => reject(new Error(`${id} ended: ${readFileSync(logFile, 'utf8').slice(-2000)}`)));
    child.on('message', (message: { type?: string; port?: number; n?: number; value?: unknown }) => {
      if (message.type === 'ready') resolve(message.port as number);
      else waiting.get(message.n as number)?.(message.value);
    });
  });
  let asked = 0;
  const ask = <Answer>(question: Question): Promise<Answer> => {
    asked += 1;
    const n = asked;
    return new Promise((resolve) => {
      waiting.set(n, resolve as (value: unknown) => void);
      child.send({ n, question });
    });
  };
  return {
    id,
    pid: child.pid as number,
    port: await ready,
    log: () => readFileSync(logFile, 'utf8'),
    ask,
    state: (...names) => ask({ ask: 'state', names }),
    signal: (signal) => void child.kill(signal),
  };
}

async function leads(one: Process): Promise<boolean> {
  return (await one.state()).leader.isLeader;
}

async function isReady(one: Process, name: string): Promise<boolean> {
  const status = (await one.state(name)).statuses[name];
  return status?.ready === status?.wanted && status?.replicas.every(({ state }) => state === 'ready') === true;
}

/** Milliseconds until `other` leads. */
async function takeover(other: Process, sinceMs: number): Promise<number> {
  await until(() => leads(other), `${other.id} to lead`, LIMIT_MS);
  return Math.round(performance.now() - sinceMs);
}

t.test('a paused and a killed leader are followed by the other, and obeyed no more', async (t) => {
  const world = await makeControlWorld(t);
  const { store, close } = await openTestStore(world);
  t.teardown(() => close(true));
  let first = await startProcess(t, world.root, 'a');
  let second = await startProcess(t, world.root, 'b');
  await Promise.all(['n1', 'n2'].map((name) => world.startNode(name, [first.port, second.port])));
  await declare(store, 'Deployment', 'chat', simDeployment('chat', 2));
  await until(async () => (await leads(first)) || (await leads(second)), 'one to lead', LIMIT_MS);
  if (await leads(second)) [first, second] = [second, first];
  for (const one of [first, second]) await until(() => isReady(one, 'chat'), `${one.id} to see chat ready`, LIMIT_MS);
  const engines = (await first.state()).engines.toSorted();
  t.equal(engines.length, 2);
  t.same((await second.state()).engines.toSorted(), engines, 'both see the same engines');
  t.notOk(await leads(second));

  const tookMs: Record<'paused' | 'killed', number[]> = { paused: [], killed: [] };
  for (let round = 0; round < ROUNDS; round++) {
    const { epoch } = (await first.state()).leader;
    first.signal('SIGSTOP');
    const sinceMs = performance.now();
    tookMs.paused.push(await takeover(second, sinceMs));
    await declare(store, 'Deployment', `round-${round}`, simDeployment(`round-${round}`, 1, { gpusPerHost: 0 }));
    await until(() => isReady(second, `round-${round}`), 'the new leader to start something', LIMIT_MS);
    first.signal('SIGCONT');
    t.notOk(await leads(first), 'the old leader knows at once that it is none');
    t.match(await first.ask({ ask: 'append_as', epoch }), { kind: 'fenced', epoch: epoch + 1 });
    const agentLog = (): string => readFileSync(path.join(world.root, 'n1.log'), 'utf8');
    const refusal = new RegExp(`"term":${epoch},"code":"stale_term"`);
    const isRefused = async (): Promise<boolean> => {
      // Its session may have been closed while it was paused, and is about to be opened again.
      await first.ask({ ask: 'order_as', epoch, node: 'n1' });
      return refusal.test(agentLog());
    };
    await until(isRefused, 'the agent to refuse the old leader', LIMIT_MS).catch((error: unknown) => {
      t.comment(agentLog().slice(-4000));
      t.comment(first.log().slice(-3000));
      t.comment(second.log().slice(-3000));
      throw error;
    });
    await until(() => isReady(first, `round-${round}`), 'the old leader to know what was started', LIMIT_MS);
    [first, second] = [second, first];
  }
  for (let round = 0; round < ROUNDS; round++) {
    const { id, port } = first;
    first.signal('SIGKILL');
    const sinceMs = performance.now();
    tookMs.killed.push(await takeover(second, sinceMs));
    const fresh = await startProcess(t, world.root, id, port);
    [first, second] = [second, fresh];
    await until(() => isReady(fresh, 'chat'), `${id} to see chat ready again`, LIMIT_MS);
  }
  const after = (await first.state()).engines.filter((engine) => engine.includes('/chat-'));
  t.same(after.toSorted(), engines, 'the engines of the beginning still run, and no other');
  for (const [how, list] of Object.entries(tookMs)) {
    t.comment(`takeover, leader ${how}, lease of ${TTL_MS} ms: ${list.join(', ')} ms`);
    t.ok(Math.max(...list) < 10 * TTL_MS, `${how}: ${list.join(', ')} ms`);
  }
});
