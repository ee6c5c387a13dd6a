/** A request for an alias reaches the engines as one for the drawn model, byte for byte as the client wrote the rest. */
import t from 'tap';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import { seededRandom } from '../../../lib/rng.ts';
import { createAliasGenerator, withAliases } from '../../../scheduler/adapters/aliases/alias_generator.ts';
import type { AdmittedRequest, Generation, GenerationSink, ModelView } from '../../../scheduler/ports.ts';

const ALIASES = new Map([
  ['front', [{ model: 'back "1"', weight: 1 }]],
  ['other', [{ model: 'unknown', weight: 1 }]],
]);
const request = (model: string, body: string): AdmittedRequest =>
  ({ id: 'r' as RequestId, model, body: Buffer.from(body) }) as unknown as AdmittedRequest;

t.test('the body asks for the model, and nothing else of it is touched', async (t) => {
  const started: AdmittedRequest[] = [];
  const cancelled: unknown[] = [];
  const generation = { id: 'r' } as unknown as Generation;
  const generator = createAliasGenerator(
    {
      start(asked) {
        started.push(asked);
        return generation;
      },
      cancel: (...what) => cancelled.push(what) > 0,
    },
    { aliases: () => ALIASES, serves: () => true, random: seededRandom(1) },
  );
  const plain = request('back', '{"model":"back"}');
  t.equal(generator.start(plain, {} as GenerationSink, 1), generation);
  t.equal(started[0], plain, 'a request for a model passes untouched');
  generator.start(
    request('front', '{ "a": {"model": "front"} , "model" :\t"front", "n": 1.0 }'),
    {} as GenerationSink,
    1,
  );
  t.equal(started[1]?.model, 'back "1"');
  t.equal(
    Buffer.from(started[1]?.body ?? []).toString(),
    '{ "a": {"model": "front"} , "model" :\t"back \\"1\\"", "n": 1.0 }',
  );
  t.equal(generator.cancel('r' as RequestId, 't' as TenantId), true);
  t.same(cancelled, [['r', 't']]);
});

t.test('aliases are among the models, and look like what they stand for', async (t) => {
  const model = { id: 'back "1"', contextTokens: 77 } as unknown as ModelView;
  const ready = { ok: true, reason: '' };
  const view = withAliases({ models: () => [model], ready: () => ready }, () => ALIASES);
  t.same(view.models('t' as TenantId), [model, { ...model, id: 'front' }]);
  t.equal(view.ready(), ready);
});
