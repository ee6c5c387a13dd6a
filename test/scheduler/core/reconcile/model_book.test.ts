/** What is remembered of models: facts by the node that told them, use by the engine that showed it, all of it bounded. */
import t from 'tap';
import type { NodeId } from '../../../../lib/ids.ts';
import type { EngineReading__Output } from '../../../../proto/gen/fleet/v1/EngineReading.ts';
import type { ModelFacts__Output } from '../../../../proto/gen/fleet/v1/ModelFacts.ts';
import type { ModelReading__Output } from '../../../../proto/gen/fleet/v1/ModelReading.ts';
import { modelFactsOf } from '../../../../scheduler/core/fleet/model_facts.ts';
import type { FleetState } from '../../../../scheduler/core/fleet/state.ts';
import type { Place } from '../../../../scheduler/core/reconcile/contract.ts';
import { KNOWS_NOTHING, ModelBook, useOf } from '../../../../scheduler/core/reconcile/model_book.ts';
import { telemetry } from '../../fakes.ts';
import { deployment } from '../../reconcile/harness.ts';

const SHAPE = {
  hidden: 64,
  vocabulary: 1000,
  intermediate: 128,
  expertIntermediate: 0,
  expertsPerToken: 0,
  fullLayers: 2,
  windowLayers: 0,
  windowTokens: 0,
  kvHeads: 2,
  headDim: 16,
  latentDim: 0,
  dtypeBytes: 2,
  maxPositions: 4096,
};

const facts = (change: Partial<ModelFacts__Output> = {}): ModelFacts__Output => ({
  weightBytes: 100,
  shape: SHAPE,
  problem: '',
  ...change,
});
const reading = (source: string, told: ModelFacts__Output | null): ModelReading__Output => ({
  source,
  state: 'ready',
  message: '',
  peers: '',
  resolved: '',
  wanted: true,
  facts: told,
});

type NodeParts = { models?: ModelReading__Output[]; engine?: Partial<EngineReading__Output>; state?: string };

function fleetOf(nodes: Readonly<Record<string, NodeParts>>): FleetState {
  const entries = Object.entries(nodes).map(([name, { models = [], engine, state = 'READY' }]) => {
    const record = { event: { state: `ENGINE_STATE_${state}` }, reading: engine };
    const engines = new Map(engine === undefined ? [] : [['e', record]]);
    return [name as NodeId, { telemetry: { ...telemetry([]), models }, engines }] as const;
  });
  return { nodes: new Map(entries) } as unknown as FleetState;
}

const place = (node: string, change: Partial<Place> = {}): Place =>
  ({
    engine: 'e',
    phase: 'placed',
    parts: [{ node, gpus: [0, 1] }],
    spec: deployment(1, { gpusPerHost: 2, model: 'm' }),
    ...change,
  }) as unknown as Place;

t.test('the facts of a model are kept after the node that told them is gone, the larger of two', async (t) => {
  const book = new ModelBook();
  t.equal(book.factsOf('m'), undefined);
  const fleet = fleetOf({ a: { models: [reading('m', facts()), reading('x', null)] } });
  book.learn({ places: [] }, fleet);
  t.equal(book.version, 1);
  book.learn({ places: [] }, fleet);
  book.learn({ places: [] }, fleetOf({ a: { models: [reading('m', facts())] } }));
  t.equal(book.version, 1, 'the same again is nothing new');
  const unread = facts({ weightBytes: 900, shape: null, problem: 'no config' });
  book.learn(
    { places: [] },
    fleetOf({ b: { models: [reading('m', facts({ weightBytes: 300 }))] }, c: { models: [reading('m', unread)] } }),
  );
  book.learn({ places: [] }, fleetOf({}));
  t.match(book.factsOf('m'), { weightBytes: 300, shape: { kind: 'shape', hidden: 64 } });
  t.equal(book.factsOf('x'), undefined);
  for (let i = 0; i < 1024; i++) book.learn({ places: [] }, fleetOf({ a: { models: [reading(`m${i}`, facts())] } }));
  t.equal(book.factsOf('m'), undefined, 'what was told longest ago is forgotten');
  t.equal(KNOWS_NOTHING.factsOf('m'), undefined);
  t.same(KNOWS_NOTHING.figuresOf('m', useOf(deployment(1), { kind: 'shape', ...SHAPE })), []);
});

t.test('figures that cannot be are no facts', async (t) => {
  t.equal(modelFactsOf({ facts: null }), undefined);
  t.same(modelFactsOf({ facts: facts({ weightBytes: 2 ** 60 }) }), {
    weightBytes: undefined,
    shape: { kind: 'shape', ...SHAPE },
    problem: 'its agent tells figures that cannot be',
  });
  for (const change of [{ hidden: 0 }, { kvHeads: -1 }, { fullLayers: 0 }, { dtypeBytes: 9 }, { headDim: 2 ** 30 }])
    t.match(modelFactsOf({ facts: facts({ shape: { ...SHAPE, ...change } }) }), {
      shape: undefined,
      problem: /cannot be/,
    });
  const { maxPositions: _none, ...short } = SHAPE;
  t.match(modelFactsOf({ facts: facts({ shape: short }) })?.shape, { maxPositions: undefined });
  t.match(modelFactsOf({ facts: { shape: null, problem: 'x'.repeat(999) } }), { problem: 'x'.repeat(256) });
});

t.test('what ready engines of a model use is remembered, the most of each', async (t) => {
  const book = new ModelBook();
  const { spec } = place('a');
  const use = useOf(spec, { kind: 'shape', ...SHAPE });
  const engine = { gpuMemoryBytes: 60, weightsBytes: 20, kvCacheBytes: 4, kvCacheTokens: 2, activationBytes: 0 };
  book.learn({ places: [place('a')] }, fleetOf({ a: { engine } }));
  t.same(book.figuresOf('m', use), [], 'without its shape nobody can say what it means');
  book.learn({ places: [] }, fleetOf({ a: { models: [reading('m', facts())] } }));
  const starting = fleetOf({ a: { engine: { ...engine }, state: 'STARTING' } });
  book.learn({ places: [place('a'), place('b'), place('a', { phase: 'stopping' })] }, starting);
  t.same(book.figuresOf('m', use), []);
  book.learn({ places: [place('a')] }, fleetOf({ a: { engine } }));
  book.learn({ places: [place('a')] }, fleetOf({ a: { engine: { gpuMemoryBytes: 40 } } }));
  t.same(book.figuresOf('m', use), [{ usedBytes: 30, fills: true }]);
  const cpu = { parts: [{ node: 'c', gpus: [] }] } as unknown as Partial<Place>;
  book.learn({ places: [place('c', cpu)] }, fleetOf({ c: { engine } }));
  const lost = { parts: [] } as unknown as Partial<Place>;
  book.learn({ places: [place('c', lost)] }, fleetOf({ c: { engine: {} } }));
  t.equal(book.figuresOf('m', use).length, 1);
  t.same(book.figuresOf('m', { ...use, batchTokens: 1 }), [], 'of another kind nothing is known');
  for (let i = 0; i < 20; i++)
    book.learn({ places: [place(`n${i}`, { phase: 'leaving' })] }, fleetOf({ [`n${i}`]: { engine: { ...engine } } }));
  t.equal(book.figuresOf('m', use).length, 16);
});

t.test('of a replica over several hosts each host shows what its stage needs', async (t) => {
  const book = new ModelBook();
  const parts = ['a', 'b', 'c'].map((node) => ({ node, gpus: [0] }));
  const spec = deployment(1, { hosts: 3, model: 'm' });
  const wide = place('a', { parts, spec } as unknown as Partial<Place>);
  const engine = { weightsBytes: 20, kvCacheBytes: 4, kvCacheTokens: 2 };
  const nodes = { a: { models: [reading('m', facts())], engine }, b: { engine: { weightsBytes: 25 } } };
  book.learn({ places: [wide] }, fleetOf(nodes));
  t.same(book.figuresOf('m', useOf(spec, { kind: 'shape', ...SHAPE })), [
    { ...engine, fills: true },
    { weightsBytes: 25, fills: true },
  ]);
});
