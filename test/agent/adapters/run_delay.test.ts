/** Waits for a CPU as the kernel counts them: of processes that get too little, of stopped ones, of none. */
import { spawn } from 'node:child_process';
import t from 'tap';
import { runDelaysMs } from '../../../agent/adapters/run_delay.ts';
import { until } from '../../support/waits.ts';

// It ends by itself, should the test not come to its end.
const SPIN = 'const end = Date.now() + 20_000; while (Date.now() < end);';
const longest = (delays: ReadonlyMap<number, number>): number => Math.max(0, ...delays.values());

t.test('two processes on one core wait for it, and stopped ones do not', async (t) => {
  const children = [1, 2].map(() => spawn('taskset', ['-c', '0', process.execPath, '-e', SPIN]));
  t.teardown(() => children.forEach((child) => child.kill('SIGKILL')));
  const pids = children.map(({ pid }) => pid as number);
  await until(async () => longest(await runDelaysMs(pids)) > 100, 'a wait for the core');
  for (const child of children) child.kill('SIGSTOP');
  await until(async () => {
    const before = longest(await runDelaysMs(pids));
    await new Promise((resolve) => setTimeout(resolve, 200));
    return longest(await runDelaysMs(pids)) === before;
  }, 'the figures of stopped processes to stand still');
});

t.test('of what is not there nothing is known', async (t) => {
  t.equal((await runDelaysMs([2 ** 22 + 1])).size, 0);
  t.equal((await runDelaysMs([])).size, 0);
  t.ok((await runDelaysMs([process.pid])).has(process.pid));
});
