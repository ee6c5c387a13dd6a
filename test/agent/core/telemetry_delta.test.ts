/** What of a picture is told to a scheduler that has an older one; and that a scheduler which is told so has the picture. */
import fc from 'fast-check';
import t from 'tap';
import {
  deltaOf,
  ENGINE_BANDS,
  GPU_BANDS,
  leavesBand,
  loadJumped,
  type Picture,
  SETTLE_MS,
  snapshotOf,
  type TelemetryBase,
} from '../../../agent/core/telemetry_delta.ts';
import type { EngineReading } from '../../../proto/gen/fleet/v1/EngineReading.ts';
import type { GpuReading } from '../../../proto/gen/fleet/v1/GpuReading.ts';
import type { Telemetry } from '../../../proto/gen/fleet/v1/Telemetry.ts';
import type { Telemetry__Output } from '../../../proto/gen/fleet/v1/Telemetry.ts';
import { mergeTelemetry } from '../../../scheduler/core/fleet/telemetry.ts';

const EMPTY: Picture = {
  atMs: 1,
  host: {},
  agent: {},
  gpus: [],
  engines: [],
  models: [],
  gpuSource: 'none',
  gpuSampleAgeMs: 0,
};

/** As the message is after the wire: lists are there, absent groups are null. */
function arrived(message: Telemetry): Telemetry__Output {
  const {
    host,
    agent,
    gpus = [],
    engines = [],
    goneGpus = [],
    goneEngines = [],
    models = [],
    goneModels = [],
    snapshot = false,
    ...rest
  } = message;
  return {
    host: host ?? null,
    agent: agent ?? null,
    gpus,
    engines,
    goneGpus,
    goneEngines,
    models,
    goneModels,
    snapshot,
    ...rest,
  } as never;
}

function teller() {
  let base: TelemetryBase | undefined;
  return (picture: Partial<Picture>, nowMs = 0) => {
    const delta = deltaOf(base, { ...EMPTY, ...picture }, nowMs);
    base = delta.base;
    return delta;
  };
}

const gpu = (change: Partial<GpuReading> = {}): GpuReading => ({ index: 0, utilizationRatio: 0.5, ...change });
const engine = (change: Partial<EngineReading> = {}): EngineReading => ({ engine: 'e', incarnation: 1, ...change });

t.test(
  'the first message is the whole picture, later ones have what changed, and silence is a sign of life',
  async (t) => {
    const tell = teller();
    const first = tell({ gpus: [gpu(), gpu({ index: 1 })], engines: [engine()], gpuReason: 'why' });
    t.match(first.message, { snapshot: true, gpus: [{ index: 0 }, { index: 1 }], engines: [{ engine: 'e' }] });
    t.equal(first.message.gpuReason, 'why');
    const same = tell({ atMs: 2, gpus: [gpu(), gpu({ index: 1 })], engines: [engine()], gpuReason: 'why' });
    t.same(same.message, { atMs: 2 });
    t.equal(same.changed, false);
    const busy = gpu({ index: 1, utilizationRatio: 0.9 });
    const change = tell({ atMs: 3, gpus: [gpu(), busy], engines: [engine()], gpuSampleAgeMs: 40 });
    t.same(change.message, { atMs: 3, gpus: [busy], gpuReason: '', gpuSampleAgeMs: 40 });
    t.equal(change.changed, true);
  },
);

t.test('noise inside the dead-band is not told, its sum is, and what rests inside is told in the end', async (t) => {
  const tell = teller();
  tell({ gpus: [gpu({ utilizationRatio: 0.5 })] });
  t.equal(tell({ gpus: [gpu({ utilizationRatio: 0.52 })] }, 1000).changed, false);
  t.match(tell({ gpus: [gpu({ utilizationRatio: 0.54 })] }, 2000).message.gpus, [{ utilizationRatio: 0.54 }]);
  t.equal(tell({ gpus: [gpu({ utilizationRatio: 0.55 })] }, 3000).changed, false);
  t.equal(tell({ gpus: [gpu({ utilizationRatio: 0.55 })] }, 2000 + SETTLE_MS - 1).changed, false);
  t.match(tell({ gpus: [gpu({ utilizationRatio: 0.55 })] }, 2000 + SETTLE_MS).message.gpus, [
    { utilizationRatio: 0.55 },
  ]);
});

t.test('a figure that becomes unknown is told as an entry without it, and one that becomes known too', async (t) => {
  const tell = teller();
  tell({ gpus: [gpu()] });
  t.same(tell({ gpus: [{ index: 0 }] }).message.gpus, [{ index: 0 }]);
  t.same(tell({ gpus: [gpu({ utilizationRatio: 0 })] }).message.gpus, [{ index: 0, utilizationRatio: 0 }]);
});

t.test('requests are counted one by one, and another life of an engine is always news', async (t) => {
  const tell = teller();
  tell({ engines: [engine({ runningRequests: 100 })] });
  t.match(tell({ engines: [engine({ runningRequests: 101 })] }).message.engines, [{ runningRequests: 101 }]);
  const next = engine({ runningRequests: 101, incarnation: 2 });
  t.same(tell({ engines: [next] }).message.engines, [next]);
});

t.test('what is gone is named, and what is new comes whole', async (t) => {
  const tell = teller();
  tell({ gpus: [gpu(), gpu({ index: 1 })], engines: [engine()] });
  t.same(tell({ gpus: [gpu({ index: 1 })], engines: [engine({ engine: 'f' })] }).message, {
    atMs: 1,
    engines: [engine({ engine: 'f' })],
    goneGpus: [0],
    goneEngines: ['e'],
    gpuSampleAgeMs: 0,
  });
});

t.test('host, agent and source are told when they change', async (t) => {
  const tell = teller();
  tell({});
  const { message } = tell({ host: { loadAverage_1m: 9 }, agent: { rssBytes: 1e8 }, gpuSource: 'nvml' });
  t.match(message, { host: { loadAverage_1m: 9 }, agent: { rssBytes: 1e8 }, gpuSource: 'nvml' });
});

t.test('figures that stand still for want of a sample say so: at 5 s, and whenever the age has doubled', async (t) => {
  const tell = teller();
  tell({ gpuSampleAgeMs: 200 });
  const told = [4000, 5200, 9000, 10_400, 20_000, 21_000].filter((gpuSampleAgeMs) => tell({ gpuSampleAgeMs }).changed);
  t.same(told, [5200, 10_400, 21_000]);
});

t.test('a base that was not kept makes the next delta cover both', async (t) => {
  const { base } = snapshotOf({ ...EMPTY, gpus: [gpu()], engines: [engine()] }, 0);
  deltaOf(base, { ...EMPTY, gpus: [gpu({ utilizationRatio: 1 })], engines: [engine()] }, 1000);
  const both = { ...EMPTY, gpus: [gpu({ utilizationRatio: 1 })], engines: [engine({ relayedRequests: 1 })] };
  t.match(deltaOf(base, both, 2000).message, { gpus: [{ utilizationRatio: 1 }], engines: [{ relayedRequests: 1 }] });
});

t.test('a load jumps by eight requests and half of what was there, up or down', async (t) => {
  t.equal(loadJumped({}, { e: 7 }), false);
  t.equal(loadJumped({}, { e: 8 }), true);
  t.equal(loadJumped({ e: 100 }, { e: 149 }), false);
  t.equal(loadJumped({ e: 100 }, { e: 150 }), true);
  t.equal(loadJumped({ e: 8 }, {}), true);
  t.equal(loadJumped({ e: 7 }, {}), false);
});

const figure = fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined });
const requests = fc.option(fc.nat(20), { nil: undefined });
const drop = <Value extends object>(value: Value): Value =>
  Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as Value;
const pictures = fc.record({
  gpus: fc.uniqueArray(
    fc.record({
      index: fc.nat(3),
      utilizationRatio: figure,
      temperatureCelsius: requests,
      health: fc.constantFrom('ok', 'degraded'),
    }),
    { selector: ({ index }) => index, maxLength: 4 },
  ),
  engines: fc.uniqueArray(
    fc.record({
      engine: fc.constantFrom('a', 'b', 'c'),
      incarnation: fc.nat(3),
      runningRequests: requests,
      kvCacheUsageRatio: figure,
    }),
    { selector: ({ engine: name }) => name, maxLength: 3 },
  ),
  host: fc.record({ cpuUtilizationRatio: figure }),
  gpuReason: fc.option(fc.constantFrom('x', 'y'), { nil: undefined }),
  gpuSource: fc.constantFrom('nvml', 'none'),
  /** Whether the message reaches the scheduler's session; one that does not is not sent, and its base not kept. */
  taken: fc.boolean(),
  reconnects: fc.boolean(),
  stepMs: fc.constantFrom(1000, SETTLE_MS),
});

function insideBands(told: object, truth: object, bands: Readonly<Record<string, unknown>>): boolean {
  const left = told as Record<string, unknown>;
  const right = truth as Record<string, unknown>;
  return Object.keys({ ...left, ...right }).every(
    (field) =>
      left[field] === right[field] || !leavesBand(left[field], right[field], (bands[field] ?? 'exact') as never),
  );
}

t.test(
  'whatever happens, a scheduler has the picture to within the dead-bands, and exactly after a while',
  async () => {
    fc.assert(
      fc.property(fc.array(pictures, { minLength: 1, maxLength: 30 }), (story) => {
        let base: TelemetryBase | undefined;
        let held: Telemetry__Output | undefined;
        let nowMs = 0;
        const tell = (picture: Picture): void => {
          const delta = deltaOf(base, picture, nowMs);
          base = delta.base;
          held = mergeTelemetry(held, arrived(delta.message))?.picture;
        };
        let last: Picture = EMPTY;
        for (const { taken, reconnects, stepMs, gpus, engines, host, ...rest } of story) {
          nowMs += stepMs;
          last = { ...EMPTY, ...rest, host: drop(host), gpus: gpus.map(drop), engines: engines.map(drop) } as Picture;
          if (reconnects) base = held = undefined;
          if (!taken) continue;
          tell(last);
          for (const one of last.gpus) {
            const found = held?.gpus.find(({ index }) => index === one.index);
            if (found === undefined || !insideBands(found, one, GPU_BANDS)) return false;
          }
          for (const one of last.engines) {
            const found = held?.engines.find((other) => other.engine === one.engine);
            if (found === undefined || !insideBands(found, one, ENGINE_BANDS)) return false;
          }
          if (held?.gpus.length !== gpus.length || held.engines.length !== engines.length) return false;
        }
        nowMs += SETTLE_MS;
        tell(last);
        const sorted = (list: readonly object[] | undefined): string[] =>
          (list ?? []).map((one) => JSON.stringify(one)).toSorted();
        return (
          sorted(held?.gpus).join() === sorted(last.gpus).join() &&
          sorted(held?.engines).join() === sorted(last.engines).join() &&
          JSON.stringify(held?.host) === JSON.stringify(last.host) &&
          held?.gpuReason === last.gpuReason &&
          held?.gpuSource === last.gpuSource
        );
      }),
      { numRuns: 500 },
    );
  },
);

t.test('models travel when they change by more than a little, and when they are gone', async (t) => {
  const tell = teller();
  const model = { source: 'hf://o/n', state: 'fetching', presentBytes: 2 ** 30, bytesPerSecond: 1e8, message: '' };
  t.match(tell({ models: [model] }).message, { snapshot: true, models: [{ source: 'hf://o/n' }] });
  t.notOk(tell({ models: [{ ...model, presentBytes: 2 ** 30 + 1e6, bytesPerSecond: 1.1e8 }] }).changed);
  t.match(tell({ models: [{ ...model, presentBytes: 2 ** 30 + 2e8 }] }).message, { models: [{ source: 'hf://o/n' }] });
  t.match(tell({ models: [{ ...model, state: 'ready' }] }).message, { models: [{ state: 'ready' }] });
  t.match(tell({ models: [] }).message, { goneModels: ['hf://o/n'], models: undefined });
});
