/**
 * The whole suite with coverage: every line of the cores and of the pure part of lib, 85 % of the rest. It takes twice as
 * long as without, since every process that a test starts is recorded, so it is a lane and not part of each run.
 */
import { spawn } from 'node:child_process';
import t from 'tap';
import { packageRoot } from '../../../lib/io/package_root.ts';

t.setTimeout(1_500_000);

t.test('npm run coverage passes, gate and all', async (t) => {
  const child = spawn('npm', ['run', 'coverage'], { cwd: packageRoot(), stdio: ['ignore', 'pipe', 'inherit'] });
  let last = '';
  child.stdout.on('data', (bytes: Buffer) => {
    last = (last + bytes.toString('utf8')).slice(-20_000);
  });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  t.equal(code, 0, last.slice(-4000));
  t.comment(last.slice(last.lastIndexOf('# {')));
});
