/** Real agents look at the files of a model, and the scheduler places what states no need by what they found. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { createLogger } from '../../../lib/io/logger.ts';
import { startControlScheduler } from '../../support/control/control_scheduler.ts';
import { declare, makeControlWorld, simDeployment } from '../../support/control/world.ts';
import { until } from '../../support/waits.ts';

const LIMIT_MS = 40_000;
const CONFIG = {
  num_hidden_layers: 2,
  hidden_size: 64,
  num_attention_heads: 4,
  vocab_size: 1000,
  max_position_embeddings: 4096,
};

/** A folder with one tensor of a thousand bytes. */
function writeModel(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const header = Buffer.from(JSON.stringify({ w: { dtype: 'U8', shape: [1000], data_offsets: [0, 1000] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(path.join(folder, 'model.safetensors'), Buffer.concat([length, header, Buffer.alloc(1000)]));
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(CONFIG));
  return folder;
}

t.test('the first replica has a GPU to itself, those after it share one by the estimate', async (t) => {
  const world = await makeControlWorld(t);
  const logger = createLogger({ name: 'test', level: 'error', destination: { write: () => undefined } });
  const scheduler = await startControlScheduler({ root: world.root, id: 'a', logger, port: 0 });
  t.teardown(() => scheduler.stop());
  await world.startNode('n1', [scheduler.port]);
  const url = `file://${writeModel(path.join(world.root, 'model'))}`;
  const { gpuMemoryBytes: _stated, ...sim } = simDeployment('chat', 1, { source: { url }, sharing: 'shared' });
  await declare(scheduler.store, 'Deployment', 'chat', sim);
  const status = () => scheduler.view.deploymentStatus('chat');
  await until(() => status()?.ready === 1, 'the first', LIMIT_MS);
  await until(() => /by estimate from its files/.test(status()?.memory ?? ''), 'the estimate', LIMIT_MS);
  await declare(scheduler.store, 'Deployment', 'chat', { ...sim, replicas: 3 });
  await until(() => status()?.ready === 3, 'three', LIMIT_MS);
  const gpus = (status()?.replicas ?? []).map((replica) => replica.gpus[0]?.gpus[0]);
  t.equal(new Set(gpus).size, 2, gpus.join());
  t.equal(gpus[1], gpus[2]);
  t.match(
    (await scheduler.view.explainDeployment('chat'))[1],
    /^memory of a new replica: on each GPU 1\.\d GiB by estimate/,
  );
});
