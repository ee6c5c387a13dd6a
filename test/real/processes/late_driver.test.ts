/** A driver that answers only after the agent has greeted its scheduler: the GPUs must not stay unknown for the session. */
import { chmod, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { fakeNvidiaSmi } from '../../../bench/idle/fake_gpus.ts';
import { startAgent } from '../../agent/support/agent_process.ts';
import { FakeScheduler, makeCertificates, until } from '../../support/fake_scheduler.ts';

/** Longer than an agent waits for its first reading. */
const LATE_S = 4;

t.test('the session begins anew when there are GPUs that its hello did not name, and once only', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'late-driver-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const searchPath = await fakeNvidiaSmi(folder, 2, process.env['PATH'] ?? '');
  const real = path.join(folder, 'nvidia-smi');
  const text = await readFile(real, 'utf8');
  const wait = `[ -e '${folder}/asked' ] || { touch '${folder}/asked'; sleep ${LATE_S}; }`;
  await writeFile(`${real}.late`, text.replace('\n', `\n${wait}\n`));
  await chmod(`${real}.late`, 0o755);
  await rename(`${real}.late`, real);
  const certificates = await makeCertificates('node-a');
  const scheduler = await new FakeScheduler({ certificates }).start();
  t.teardown(() => scheduler.stop());
  const agent = startAgent({
    certificates,
    schedulers: [scheduler.address],
    flags: ['--gpu-reader', 'nvidia-smi', '--nvidia-smi-period-ms', '500'],
    environment: { PATH: searchPath },
  });
  t.teardown(() => agent.stop());
  await until(() => scheduler.hellos.length === 1, 'the first hello', 30_000);
  t.same(scheduler.hellos[0]?.gpus, [], 'the driver has not answered yet');
  await until(() => scheduler.hellos.length === 2, 'the second hello', 30_000);
  t.match(scheduler.hellos[1]?.gpus, [{ index: 0 }, { index: 1 }]);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  t.equal(scheduler.hellos.length, 2, 'the next readings say nothing new');
});
