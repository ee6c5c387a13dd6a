/**
 * A scheduler and two agents as processes of their own: the source gives the bytes of a model once and never again, and
 * still both hosts have it, because one takes it from the other.
 */
import { readFile } from 'node:fs/promises';
import t from 'tap';
import { type SourceFile, startSource, sumOf } from '../../../bench/models/source_server.ts';
import type { ModelFiles__Output } from '../../../proto/gen/admin/v1/ModelFiles.ts';
import { startFleet } from '../../support/fleet.ts';

const WEIGHTS: SourceFile = { path: 'w.gguf', bytes: 3_000_000, seed: 1 };

t.test('the second host takes the model from the first', async (t) => {
  let given = 0;
  const origin = await startSource({
    files: () => [WEIGHTS],
    fault({ range }) {
      // The question for the size of a file is no download.
      if (range === 'bytes=0-0') return undefined;
      given += 1;
      return given === 1 ? undefined : { kind: 'status', status: 503 };
    },
  });
  t.teardown(() => origin.close());
  const engine = (name: string) => ({
    ...{ name, kind: 'sim', model: 'm', servedModelName: 'm', extraFlags: ['--sim-unpaced'] },
    modelSource: { url: `${origin.url}/files/${WEIGHTS.path}`, sha256: { [WEIGHTS.path]: sumOf(WEIGHTS) } },
  });
  const fleet = await startFleet(t, {
    engines: [engine('a')],
    otherNodes: { 'other-node': [engine('b')] },
    agent: { modelsServePort: 0 },
    readyTimeoutMs: 60_000,
  });
  t.equal(fleet.engines.length, 2);
  // Besides the byte by which each asks for its size.
  t.ok(origin.sentBytes() < WEIGHTS.bytes + 100, 'the source gave it once');
  const { files } = await fleet.admin<{ files: ModelFiles__Output[] }>('ListModels');
  const from = files
    .filter(({ reading }) => reading?.source.includes(WEIGHTS.path))
    .map(({ node, reading }) => [node, reading?.state, reading?.peers, reading?.peerBytes]);
  const taken = from.filter(([, , peers]) => peers !== '');
  t.equal(from.length, 2);
  t.same(
    from.map(([, state]) => state),
    ['ready', 'ready'],
  );
  t.equal(taken.length, 1);
  t.match(taken, [[/node/, 'ready', taken[0]?.[0] === 'other-node' ? 'test-node' : 'other-node', WEIGHTS.bytes]]);
  for (const { logFile, name } of [fleet.scheduler, fleet.agent, ...fleet.otherAgents]) {
    const log = await readFile(logFile, 'utf8');
    t.notMatch(log, /model-files|eyJ[A-Za-z0-9_-]{10}/, `no ticket is in the log of ${name}`);
  }
  await fleet.stop();
});
