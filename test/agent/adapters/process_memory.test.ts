/** Host memory of process trees and of the host, from /proc. */
import { spawn } from 'node:child_process';
import os from 'node:os';
import t from 'tap';
import { createAgentVitals } from '../../../agent/adapters/agent_vitals.ts';
import { createHostFacts, parseCpuTimes, parseMemoryUsed } from '../../../agent/adapters/host_facts.ts';
import { pageBytes, ProcessMemory, sessionOf, treeBytes } from '../../../agent/adapters/process_memory.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { eventually } from '../../support/child.ts';

t.test('a session is read past any name, and shared pages count once', async (t) => {
  t.equal(sessionOf('12 (a ) b) S 1 12 77 0 -1'), 77);
  t.equal(treeBytes(['900 100 40 1 0 2 0', '900 60 30 1 0 2 0'], 4096), (60 + 30 + 40) * 4096);
  t.equal(treeBytes([], 4096), 0);
  t.ok([4096, 16_384, 65_536].includes(pageBytes()));
});

t.test('the whole tree counts, also what a child of it holds, and one that ended does not', async (t) => {
  const hold = `const { spawn } = require('node:child_process');
    if (process.argv[1] !== 'inner') spawn(process.execPath, ['-e', 'globalThis.held = Buffer.alloc(150e6, 1); setInterval(() => {}, 1e6)', 'inner']);
    setInterval(() => {}, 1e6);`;
  const leader = spawn(process.execPath, ['-e', hold], { detached: true, stdio: 'ignore' });
  const pid = leader.pid as number;
  t.teardown(() => process.kill(-pid, 'SIGKILL'));
  const quick = { ...systemClock, after: (_ms: number, task: () => void) => systemClock.after(50, task) };
  // A tree whose first look came too early is walked again when the engines change, as they do here.
  let others = 0;
  const memory = new ProcessMemory({
    clock: quick,
    leaders: () =>
      new Map([
        ['e', pid],
        [`gone-${others++}`, 2 ** 22 + others],
      ]),
  });
  memory.start();
  t.teardown(() => memory.stop());
  await eventually('the memory of both', () => (memory.newest().get('e') ?? 0) > 180e6, 30_000);
  t.ok((memory.newest().get('e') ?? 0) < 600e6);
  t.equal(
    [...memory.newest().keys()].some((name) => name.startsWith('gone')),
    false,
  );
});

t.test('the first line of /proc/stat gives busy and all, without guests twice', async (t) => {
  t.same(parseCpuTimes('cpu  10 1 5 80 4 1 1 2 9 9\ncpu0 1 1 1 1\n'), { busy: 20, all: 104 });
  t.equal(parseCpuTimes(''), undefined);
  t.equal(parseCpuTimes('cpu x y\n'), undefined);
  t.equal(parseMemoryUsed('MemTotal:       1000 kB\nMemAvailable:    400 kB\n'), 600 * 1024);
  t.equal(parseMemoryUsed('nothing'), undefined);
});

t.test('a reading of this host is plausible, and asked twice in a row it is read once', async (t) => {
  let nowMs = 0;
  const host = createHostFacts(os.tmpdir(), { ...systemClock, monotonicMs: () => nowMs });
  const first = await host.reading();
  t.equal(await host.reading(), first);
  t.ok((first.memoryUsedBytes as number) > 1e7 && (first.memoryUsedBytes as number) < os.totalmem());
  await eventually('a later reading with the load of the processors and the space of the disk', async () => {
    nowMs += 60_000;
    const { cpuUtilizationRatio: ratio, diskFreeBytes } = await host.reading();
    return typeof ratio === 'number' && ratio >= 0 && ratio <= 1 && Number(diskFreeBytes) > 0;
  });
});

t.test('the agent sees how late its own loop is, and its pauses', async (t) => {
  const vitals = createAgentVitals();
  vitals.start();
  t.teardown(() => vitals.stop());
  await new Promise((resolve) => setTimeout(resolve, 250));
  const endAtMs = performance.now() + 400;
  while (performance.now() < endAtMs);
  await new Promise((resolve) => setTimeout(resolve, 250));
  const { loopLagP99Ms, rssBytes, relayLoopLagP99Ms, gcPauseMaxMs } = vitals.read({
    loopLagP99Ms: 7,
    gcPauseMaxMs: 9e5,
  });
  t.ok(Number(loopLagP99Ms) > 150, `${loopLagP99Ms} ms of 400 are seen`);
  t.ok(Number(rssBytes) > 1e7);
  t.equal(relayLoopLagP99Ms, 7);
  t.equal(gcPauseMaxMs, 9e5, 'the longest of all threads');
});
