/**
 * The voice towards systemd: what is said, when, and by which way. That a real systemd hears it is seen by the lane
 * `hosts` of .ci/real.
 */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import type { Clock } from '../../../lib/clock.ts';
import {
  createNotifySender,
  createServiceManager,
  serviceManagerFacts,
  type NotifySender,
} from '../../../lib/io/service_manager.ts';
import { Vitals } from '../../../lib/vitals.ts';

/** A clock whose time moves when the test says so; timers ring in order, and what they began has ended before the next. */
function handClock() {
  let nowMs = 0;
  const timers: { atMs: number; task: () => void }[] = [];
  const clock: Clock = {
    wallMs: () => nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, task) {
      const timer = { atMs: nowMs + delayMs, task };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), timers.includes(timer) ? 1 : 0);
    },
  };
  const advance = async (ms: number): Promise<void> => {
    const endMs = nowMs + ms;
    for (;;) {
      const next = timers.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      timers.splice(timers.indexOf(next), 1);
      nowMs = next.atMs;
      next.task();
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    nowMs = endMs;
  };
  return { clock, advance, waiting: () => timers.length };
}

function setUp(send: NotifySender, watchdogMs: number | 'none' = 3000) {
  const hands = handClock();
  const vitals = new Vitals();
  const complaints: string[] = [];
  const log = {
    warn: (_fields: object, message: string) => complaints.push(message),
    error: (_fields: object, message: string) => complaints.push(message),
  };
  let status = 'Fine.';
  const manager = createServiceManager({
    facts: { socketPath: '/run/notify', watchdogMs: watchdogMs === 'none' ? undefined : watchdogMs },
    clock: hands.clock,
    vitals,
    send,
    status: () => status,
    log,
  });
  return { ...hands, vitals, complaints, manager, setStatus: (text: string) => void (status = text) };
}

t.test('what systemd put into the environment is read, and a watchdog of another process is not ours', async (t) => {
  const env = { NOTIFY_SOCKET: '/run/systemd/notify', WATCHDOG_USEC: '15000000', WATCHDOG_PID: '7' };
  t.same(serviceManagerFacts(env, 7), { socketPath: '/run/systemd/notify', watchdogMs: 15_000 });
  t.same(serviceManagerFacts(env, 8), { socketPath: '/run/systemd/notify', watchdogMs: undefined });
  t.same(serviceManagerFacts({ WATCHDOG_USEC: '15000000' }, 8), { socketPath: undefined, watchdogMs: 15_000 });
  for (const usec of ['', 'soon', '-1', '0', '1e400'])
    t.equal(serviceManagerFacts({ WATCHDOG_USEC: usec }, 1).watchdogMs, undefined, `"${usec}"`);
  t.equal(serviceManagerFacts({ NOTIFY_SOCKET: '' }, 1).socketPath, undefined);
});

t.test('ready is said once, the watchdog is fed three times in its time, a status only when it changed', async (t) => {
  const said: string[] = [];
  const { manager, advance, setStatus } = setUp(async (message) => void said.push(message));
  await manager.start();
  t.same(said.splice(0), ['READY=1\nSTATUS=Fine.']);
  await advance(3000);
  t.same(said.splice(0), ['WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1']);
  setStatus('Two lines\nREADY=0');
  await advance(1000);
  t.same(said.splice(0), ['WATCHDOG=1\nSTATUS=Two lines READY=0']);
  await manager.stop();
  t.same(said.splice(0), ['STOPPING=1\nSTATUS=Stopping.']);
  await advance(10_000);
  t.same(said, [], 'after the stop nothing is said');
});

t.test('a part that does not turn starves the watchdog, says so once, and feeds it again when it turns', async (t) => {
  const said: string[] = [];
  const { manager, advance, vitals, complaints, clock } = setUp(async (message) => void said.push(message));
  vitals.expect('the round', () => 1500, 0);
  await manager.start();
  said.length = 0;
  await advance(1000);
  t.same(said.splice(0), ['WATCHDOG=1']);
  await advance(1000);
  t.same(said.splice(0), ['STATUS=Not alive: the round was silent for 2000 ms.']);
  await advance(1000);
  t.notMatch(said.splice(0).join(), /WATCHDOG/);
  t.equal(complaints.length, 1);
  vitals.beat('the round', clock.monotonicMs());
  await advance(1000);
  t.same(said, ['WATCHDOG=1\nSTATUS=Fine.']);
});

t.test('without a watchdog only a changed status is told', async (t) => {
  const said: string[] = [];
  const { manager, advance, setStatus } = setUp(async (message) => void said.push(message), 'none');
  await manager.start();
  await advance(60_000);
  t.same(said.splice(0), ['READY=1\nSTATUS=Fine.']);
  setStatus('Better.');
  await advance(60_000);
  t.same(said, ['STATUS=Better.']);
});

t.test('a systemd that cannot be told fails the start, and later is only complained of', async (t) => {
  let isBroken = true;
  const { manager, advance, complaints } = setUp(async () => {
    if (isBroken) throw new Error('no such socket');
  });
  await t.rejects(manager.start(), /no such socket/);
  isBroken = false;
  await manager.start();
  isBroken = true;
  await advance(2000);
  await manager.stop();
  t.same(complaints, ['systemd could not be told', 'systemd could not be told', 'systemd could not be told']);
});

t.test('the addon is used where there is one, the program elsewhere, and nothing without a socket', async (t) => {
  const calls: string[] = [];
  const facts = { socketPath: '/run/notify', watchdogMs: undefined };
  await createNotifySender(facts, (socket, message) => void calls.push(`${socket} ${message}`), undefined)('READY=1');
  t.same(calls, ['/run/notify READY=1']);
  await createNotifySender({ socketPath: undefined, watchdogMs: undefined }, undefined, undefined)('READY=1');

  const folder = t.testdir();
  const program = path.join(folder, 'systemd-notify');
  const heard = path.join(folder, 'heard');
  writeFileSync(program, `#!/bin/sh\nprintf '%s|' "$NOTIFY_SOCKET" "$@" >"${heard}"\n`);
  chmodSync(program, 0o755);
  const send = createNotifySender(facts, undefined, `${folder}:/usr/bin:/bin`);
  await send('READY=1\nSTATUS=All is well.');
  t.equal(readFileSync(heard, 'utf8'), '/run/notify|READY=1|STATUS=All is well.|');
  const broken = (): never => {
    throw new Error('no such socket');
  };
  await createNotifySender(facts, broken, `${folder}:/usr/bin:/bin`)('READY=1');
  t.equal(readFileSync(heard, 'utf8'), '/run/notify|READY=1|', 'the program, where the addon cannot');
  writeFileSync(program, '#!/bin/sh\nexit 3\n');
  await t.rejects(send('READY=1'), /systemd-notify could not tell systemd/);
});

t.test('a process that systemd did not start says nothing and starts', async (t) => {
  const manager = createServiceManager({
    facts: { socketPath: undefined, watchdogMs: undefined },
    clock: handClock().clock,
    vitals: new Vitals(),
    send: () => Promise.reject(new Error('must not be called')),
    status: () => 'Fine.',
    log: { warn: () => undefined, error: () => undefined },
  });
  await manager.start();
  await manager.stop();
  t.pass('neither failed');
});
