/** A tree of processes is swept when nothing of it lives any more, also when its processes take their time to end. */
import { spawn } from 'node:child_process';
import t from 'tap';
import { processStartTicks } from '../../../lib/io/processes.ts';
import { sweepTree } from '../../../lib/io/process_tree.ts';

const VARIABLE = 'SOPHIA_TEST_TREE';
/** The kernel needs some tens of milliseconds to take so much memory back; meanwhile the process has no variables. */
const MEMORY_BYTES = 512 * 1024 * 1024;
const LIMIT_MS = 30_000;

t.test('what was killed is waited for until it is gone, although it cannot prove itself any more', async (t) => {
  const script = `const memory = Buffer.alloc(${MEMORY_BYTES}, 1); console.log('ready'); setInterval(() => memory, 1e6)`;
  const mark = `${process.pid}-${Date.now()}`;
  const child = spawn(process.execPath, ['-e', script], {
    env: { ...process.env, [VARIABLE]: mark },
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  await new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  const result = await sweepTree({ variable: VARIABLE, mark, roots: [], known: [] }, LIMIT_MS);
  t.equal(await processStartTicks(child.pid as number), undefined, 'it is gone when the sweep says so');
  t.same(result, { killed: 1, left: [] });
});
