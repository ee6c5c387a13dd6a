/** A whole fleet whose engine needs a model that no host has: from the order to the file on disk, as an operator sees it. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { COMMIT, type Fault, type SourceFile, startSource, sumOf } from '../../bench/models/source_server.ts';
import { makeHome, sophia } from '../cli/sophia.ts';
import { eventually } from '../support/child.ts';
import { startFleet } from '../support/fleet.ts';

const WEIGHTS: SourceFile = { path: 'model.safetensors', bytes: 3_000_000, seed: 1 };

t.test('the engine waits for its model, the list shows it, and it serves once the model is there', async (t) => {
  const slowly: Fault = { kind: 'slow', bytes: 2000 };
  const files = [{ path: 'config.json', bytes: 500, seed: 2 }, WEIGHTS];
  const source = await startSource({
    files: () => files,
    fault: (_request, file) => (file === WEIGHTS ? slowly : undefined),
  });
  t.teardown(() => source.close());
  const engine = {
    name: 'sim-0',
    kind: 'sim',
    model: 'maker/model',
    servedModelName: 'm',
    extraFlags: ['--sim-itl-ms', '2'],
  };
  const fleet = await startFleet(t, {
    engines: [{ ...engine, modelSource: { url: 'hf://maker/model' } }],
    agent: { hubUrl: source.url, telemetryPeriodMs: 200, modelsConnections: 2 },
    awaitRoutable: 0,
  });
  const home = makeHome(t);
  const run = (...args: string[]) =>
    sophia(t, home, ['--endpoint', fleet.grpcAddress, ...args], { SOPHIA_KEY: fleet.key });
  await eventually('the fetch is told', async () => {
    const { engines } = await fleet.admin<{ engines: { event?: { message: string } }[] }>('ListEngines');
    return /^model \d+ %, .*\/s/.test(engines[0]?.event?.message ?? '');
  });
  // An engine's event comes at once, a reading of files with the next telemetry.
  await eventually('its files are told', async () => {
    const { files } = await fleet.admin<{ files: { reading?: { state: string } }[] }>('ListModels');
    return files[0]?.reading?.state === 'fetching';
  });
  const listed = (await run('model', 'list')).stdout;
  t.match(listed, /SOURCE +NODE +STATE +PROGRESS/);
  t.match(listed, /hf:\/\/maker\/model +test-node +fetching +\d+ % +3\.0 MB/);
  slowly.bytes = 1_000_000;
  await eventually(
    'the engine serves',
    async () => {
      const { engines } = await fleet.admin<{ engines: { routable: boolean }[] }>('ListEngines');
      return engines[0]?.routable === true;
    },
    30_000,
  );
  await eventually('the list says so', async () => {
    const { files } = await fleet.admin<{ files: { reading?: { state: string } }[] }>('ListModels');
    return files[0]?.reading?.state === 'ready';
  });
  t.match((await run('model', 'list')).stdout, new RegExp(`hf://maker/model +test-node +ready +100 %`));
  const file = path.join(fleet.root, 'agent', 'models', `maker--model@${COMMIT}`, WEIGHTS.path);
  t.equal(createHash('sha256').update(readFileSync(file)).digest('hex'), sumOf(WEIGHTS));
  await fleet.stop();
});
