/** What a scheduler says of its log before anybody has read it, and of the models that are declared in it. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { createLogger } from '../../lib/io/logger.ts';
import { createMetrics } from '../../lib/io/metrics.ts';
import { loadSettings } from '../../lib/io/settings.ts';
import { settings } from '../../scheduler/config.ts';
import type { FleetEvent } from '../../scheduler/core/events/event.ts';
import { createProjection } from '../../scheduler/core/events/projection.ts';
import { createDeclaredModels } from '../../scheduler/core/resources/declared_models.ts';
import { createControl } from '../../scheduler/wire/control.ts';

function controlOf(t: Test, file: object, folder = t.testdir()) {
  const all = { fleetCertFile: 'c', fleetKeyFile: 'k', fleetCaFile: 'a', dataDir: folder, ...file };
  const { config } = loadSettings(settings, { argv: ['--config', 'f'], env: {}, readFile: () => JSON.stringify(all) });
  const logger = createLogger({ name: 'test', level: 'fatal' });
  return createControl(config, logger, createMetrics({ processMetrics: false }));
}

t.test('a log that will be read is in use before it has been', async (t) => {
  const postgres = controlOf(t, { store: 'postgres', storeUrl: 'postgres://nobody@127.0.0.1:1/none' });
  t.equal(postgres.log?.isUnused(), false, 'no orders of the configuration for an agent that is early');
  t.equal(postgres.isDeclared('m'), true, 'any model may be declared');
  const fresh = controlOf(t, {});
  t.equal(fresh.log?.isUnused(), true);
  t.equal(fresh.isDeclared('m'), false);
  const folder = t.testdir();
  mkdirSync(path.join(folder, 'store'));
  const used = controlOf(t, {}, folder);
  t.equal(used.log?.isUnused(), false);
  t.equal(used.isDeclared('m'), true);
  const off = controlOf(t, { store: 'off' }, folder);
  t.equal(off.log, undefined);
  t.equal(off.isDeclared('m'), false);
});

t.test('declared models follow the log', async (t) => {
  const projection = createProjection();
  const models = createDeclaredModels();
  let seq = 0;
  const apply = (effect: 'put' | 'remove', name: string, servedModelName: string): void => {
    seq += 1;
    const resource = { kind: 'Deployment', name };
    const after = effect === 'put' ? { spec: { servedModelName }, labels: {} } : null;
    const base = projection.get('desired', 'Deployment', name)?.version ?? 0;
    const words = { kind: 'desired.x', area: 'desired', actor: 'a', reason: '', correlationId: '', before: null };
    projection.apply({ ...words, seq, atMs: seq, effect, resource, base, after } as FleetEvent);
  };
  t.strictSame([...models(projection)], []);
  apply('put', 'one', 'a');
  apply('put', 'two', 'b');
  t.strictSame([...models(projection)], ['a', 'b']);
  t.equal(models(projection), models(projection), 'gathered once while nothing changes');
  apply('remove', 'one', '');
  t.strictSame([...models(projection)], ['b']);
  t.strictSame([...models(createProjection())], [], 'another state is another matter');
});
