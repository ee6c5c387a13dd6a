/**
 * What systemd hears of a scheduler and an agent, taken down by a program that stands in for systemd-notify: ready once,
 * a status that follows the fleet, signs of life, and the stop. A real systemd hears them in the lane `hosts`.
 */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Child } from '../../lib/io/child.ts';
import { startLocalFleet } from '../../lib/io/local_fleet.ts';
import { childEnv } from '../support/child.ts';
import { simEngine } from '../support/fleet.ts';

const LIMIT_MS = 60_000;

t.setTimeout(180_000);

const root = await mkdtemp(path.join(tmpdir(), 'sophia-notify-'));
t.teardown(() => rm(root, { recursive: true, force: true }));
const heardFile = path.join(root, 'heard');
const program = path.join(root, 'systemd-notify');
writeFileSync(heardFile, '');
// One line a call, so that the calls of two processes do not mix: the caller's pid, the socket, the assignments.
writeFileSync(program, `#!/bin/sh\nIFS='|'\necho "$PPID|$NOTIFY_SOCKET|$*" >>"${heardFile}"\n`);
chmodSync(program, 0o755);

/** The assignments that a process has made so far, in order. */
const saidBy = ({ pid }: Child): string[] =>
  readFileSync(heardFile, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith(`${pid}|/run/some/notify|`))
    .flatMap((line) => line.split('|').slice(2));

async function hears(child: Child, pattern: RegExp): Promise<void> {
  const endMs = Date.now() + LIMIT_MS;
  while (!saidBy(child).some((assignment) => pattern.test(assignment))) {
    if (Date.now() > endMs) throw new Error(`${child.name} has not said ${pattern}: ${saidBy(child).join(', ')}`);
    await sleep(50);
  }
}

t.test('both say that they are ready, how they are, that they live, and that they stop', async (t) => {
  const started: Child[] = [];
  t.teardown(() => Promise.all(started.map((child) => child.stop(20_000))));
  const fleet = await startLocalFleet({
    root: path.join(root, 'fleet'),
    nodeName: 'node-a',
    engines: [simEngine({ name: 'sim-0', model: 'sim/one' })],
    env: childEnv({
      PATH: `${root}:${process.env['PATH'] ?? ''}`,
      NOTIFY_SOCKET: '/run/some/notify',
      WATCHDOG_USEC: '900000',
    }),
    nowMs: Date.now(),
    onChild: (child) => started.push(child),
  });
  const { agent, scheduler } = fleet;
  await hears(agent, /^STATUS=1 of 1 engines ready, 1 of 1 schedulers connected\.$/);
  await hears(scheduler, /^STATUS=Running requests: 0; an engine is ready\.$/);
  for (const child of [agent, scheduler]) {
    await hears(child, /^WATCHDOG=1$/);
    t.equal(saidBy(child)[0], 'READY=1', `${child.name} says first that it is ready`);
  }
  // In this order the scheduler sees its agent go.
  await agent.stop(30_000);
  await hears(scheduler, /^STATUS=Running requests: 0; no engine is ready\.$/);
  await scheduler.stop(30_000);
  for (const child of [agent, scheduler]) {
    const said = saidBy(child);
    t.same(said.slice(-2), ['STOPPING=1', 'STATUS=Stopping.'], `${child.name} says last that it stops`);
    t.equal(said.filter((assignment) => assignment === 'READY=1').length, 1);
  }
});
