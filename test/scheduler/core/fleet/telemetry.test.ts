/** How an agent's messages become one picture, whatever an agent says. */
import fc from 'fast-check';
import t from 'tap';
import type { GpuReading__Output } from '../../../../proto/gen/fleet/v1/GpuReading.ts';
import type { Telemetry__Output } from '../../../../proto/gen/fleet/v1/Telemetry.ts';
import { MAX_ENGINES_PER_NODE } from '../../../../scheduler/core/fleet/state.ts';
import { MAX_GPUS_PER_NODE, mergeTelemetry } from '../../../../scheduler/core/fleet/telemetry.ts';
import { telemetry } from '../../fakes.ts';

const message = (change: Partial<Telemetry__Output> = {}): Telemetry__Output => ({
  ...telemetry([]),
  snapshot: false,
  ...change,
});
const snapshot = (change: Partial<Telemetry__Output> = {}): Telemetry__Output => message({ snapshot: true, ...change });

/** The picture after several messages; those that are passed over change nothing. */
function pictureOf(...messages: readonly Telemetry__Output[]): Telemetry__Output | undefined {
  let picture: Telemetry__Output | undefined;
  for (const each of messages) picture = mergeTelemetry(picture, each)?.picture ?? picture;
  return picture;
}

t.test('a delta before any snapshot is no picture', async (t) => {
  t.equal(mergeTelemetry(undefined, message({ gpus: [{ index: 0 }] })), undefined);
});

t.test('entries are replaced whole, what is not named stands, what is gone goes', async (t) => {
  const first = snapshot({
    atMs: 1,
    gpus: [{ index: 0, utilizationRatio: 0.1, powerWatts: 90 }, { index: 1 }],
    engines: [
      { engine: 'a', incarnation: 1 },
      { engine: 'b', incarnation: 1 },
    ],
    host: { memoryUsedBytes: 5 },
    agent: { rssBytes: 7 },
    gpuSource: 'nvml',
    gpuReason: 'stale',
    gpuSampleAgeMs: 3,
  });
  const next = message({ atMs: 2, gpus: [{ index: 0, utilizationRatio: 0.9 }], goneGpus: [1], goneEngines: ['a'] });
  t.match(pictureOf(first, next), {
    atMs: 2,
    gpus: [{ index: 0, utilizationRatio: 0.9, powerWatts: undefined }],
    engines: [{ engine: 'b' }],
    host: { memoryUsedBytes: 5 },
    agent: { rssBytes: 7 },
    gpuSource: 'nvml',
    gpuReason: 'stale',
    gpuSampleAgeMs: 3,
  });
  t.match(pictureOf(first, message({ host: {}, agent: {}, gpuReason: '', gpuSource: 'none' })), {
    atMs: 1,
    host: { memoryUsedBytes: undefined },
    agent: { rssBytes: undefined },
    gpuReason: undefined,
    gpuSource: 'none',
  });
  t.same(pictureOf(first, snapshot())?.gpus, [], 'a snapshot forgets what was before');
});

t.test('nothing that cannot be is believed, figure by figure', async (t) => {
  const merged = mergeTelemetry(
    undefined,
    snapshot({
      atMs: -1,
      gpus: [
        { index: 0, utilizationRatio: 1.5, powerWatts: Number.POSITIVE_INFINITY, temperatureCelsius: 40 },
        { index: 5000 },
        { index: 1, health: 'x'.repeat(65), memoryUsedBytes: 2 ** 60, remapPending: 'yes' as never },
      ],
      engines: [
        { engine: 'e', incarnation: 1, runningRequests: -3, sleeping: true },
        { engine: '', incarnation: 1 },
      ],
      host: { cpuUtilizationRatio: Number.NaN, loadAverage_1m: 1 },
      agent: { loopLagP99Ms: 1e15 },
      gpuSource: 'y'.repeat(100),
    }),
  );
  t.same(merged?.picture.gpus, [{ index: 0, temperatureCelsius: 40 }, { index: 1 }]);
  t.same(merged?.picture.engines, [{ engine: 'e', incarnation: 1, sleeping: true }]);
  t.same(merged?.picture.host, { loadAverage_1m: 1 });
  t.same(merged?.picture.agent, {});
  t.equal(merged?.picture.atMs, undefined);
  t.equal(merged?.picture.gpuSource?.length, 64);
  // Twice for the GPU without an acceptable number: the figure and the entry.
  t.equal(merged?.leftOut, 1 + 2 + 2 + 3 + 1 + 1 + 1 + 1);
});

t.test('a figure that is left out takes the mark of its presence with it', async (t) => {
  const gpu = { index: 0, powerWatts: -1, _powerWatts: 'powerWatts' } satisfies GpuReading__Output;
  t.same(pictureOf(snapshot({ gpus: [gpu] }))?.gpus, [{ index: 0 }]);
});

t.test('no agent fills the memory of the scheduler, in one message or in many', async (t) => {
  const gpus = Array.from({ length: 400 }, (_, index) => ({ index }));
  const engines = Array.from({ length: 300 }, (_, index) => ({ engine: `e${index}`, incarnation: 1 }));
  const one = mergeTelemetry(undefined, snapshot({ gpus, engines }));
  t.equal(one?.picture.gpus.length, MAX_GPUS_PER_NODE);
  t.equal(one?.picture.engines.length, MAX_ENGINES_PER_NODE);
  t.equal(one?.leftOut, 400 - MAX_GPUS_PER_NODE + 300 - MAX_ENGINES_PER_NODE);
  const many = pictureOf(snapshot(), ...engines.map((engine) => message({ engines: [engine] })));
  t.equal(many?.engines.length, MAX_ENGINES_PER_NODE);
});

const anything = fc.oneof(fc.double(), fc.integer(), fc.string(), fc.boolean(), fc.constant(undefined));
const messages = fc.record({
  snapshot: fc.boolean(),
  atMs: fc.nat(),
  gpus: fc.array(fc.record({ index: fc.nat(6), utilizationRatio: anything, remapPending: anything, health: anything })),
  engines: fc.array(
    fc.record({ engine: fc.constantFrom('a', 'b', ''), incarnation: fc.nat(3), runningRequests: anything }),
  ),
  goneGpus: fc.array(fc.nat(6)),
  goneEngines: fc.array(fc.constantFrom('a', 'b')),
});

t.test('whatever comes in whatever order, the picture has each entry once and only figures that can be', async () => {
  fc.assert(
    fc.property(fc.array(messages), (story) => {
      const picture = pictureOf(...story.map((each) => message(each as never)));
      if (picture === undefined) return story.every((each) => !each.snapshot);
      const indexes = picture.gpus.map(({ index }) => index);
      return (
        new Set(indexes).size === indexes.length &&
        picture.gpus.every(({ utilizationRatio: ratio }) => ratio === undefined || (ratio >= 0 && ratio <= 1)) &&
        picture.engines.every(({ runningRequests: count }) => count === undefined || count >= 0)
      );
    }),
  );
});
