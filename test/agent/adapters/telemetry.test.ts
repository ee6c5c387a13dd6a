/** Telemetry as schedulers get it: who gets what when, and what an engine that hangs does to it. */
import t from 'tap';
import { EngineLoadReader } from '../../../agent/adapters/engine_loads.ts';
import { pushingLinks, TelemetryLoop, type TelemetryParts } from '../../../agent/adapters/telemetry.ts';
import type {
  EngineAddress,
  EngineLoad,
  EngineView,
  GpuSample,
  RelayStats,
  SchedulerLinks,
} from '../../../agent/ports.ts';
import { systemClock } from '../../../lib/io/system.ts';
import type { Telemetry } from '../../../proto/gen/fleet/v1/Telemetry.ts';
import { eventually } from '../../support/child.ts';

const view = (name: string, change: object = {}): EngineView =>
  ({
    life: { spec: { name }, incarnation: 1, status: 'ready', ...change },
    address: { kind: 'unix', path: name },
  }) as never;

interface World {
  readonly sent: Map<string, Telemetry[]>;
  readonly full: Set<string>;
  readonly open: Record<string, number>;
  readonly progress: Record<string, object>;
  sample: GpuSample;
  health: string;
  views: EngineView[];
  dropped: number;
  errors: number;
  readonly asked: string[];
  readonly loop: TelemetryLoop;
  of(scheduler: string): readonly Telemetry[];
}

function makeWorld(
  t: { teardown(task: () => unknown): void },
  change: {
    load?: (engine: string) => Promise<EngineLoad | undefined>;
    host?: () => Promise<object>;
    periodMs?: number;
  } = {},
): World {
  const sent = new Map<string, Telemetry[]>();
  const asked: string[] = [];
  const load = async (address: EngineAddress): Promise<EngineLoad | undefined> => {
    const engine = (address as { path: string }).path;
    asked.push(engine);
    return change.load === undefined ? { runningRequests: 0 } : change.load(engine);
  };
  const world = {
    sent,
    full: new Set<string>(),
    open: {},
    progress: {},
    sample: { source: 'nvml', atMs: Date.now(), gpus: [{ index: 0, uuid: 'GPU-0', utilizationRatio: 0.5 }] },
    health: 'ok',
    views: [view('e')],
    dropped: 0,
    errors: 0,
    asked,
    of: (scheduler: string) => sent.get(scheduler) ?? [],
  } as unknown as World & { loop: TelemetryLoop };
  const parts: TelemetryParts = {
    clock: systemClock,
    host: { reading: change.host ?? (async () => ({ loadAverage_1m: 1 })) },
    gpus: { latest: () => world.sample },
    loads: new EngineLoadReader({ clock: systemClock, probe: { load }, timeoutMs: 60_000 }),
    relay: { stats: () => ({ openByEngine: world.open, progress: world.progress }) as unknown as RelayStats },
    engines: () => world.views,
    hostMemoryByEngine: () => new Map([['e', 5e8]]),
    gpuMemoryByEngine: () => new Map([['e', 6e10]]),
    gpuHealth: () => world.health,
    sleeping: () => false,
    agent: () => ({ rssBytes: 1e8 }),
    send(scheduler, telemetry) {
      if (world.full.has(scheduler)) return false;
      sent.set(scheduler, [...world.of(scheduler), telemetry]);
      return true;
    },
    onSent: () => undefined,
    onDropped: () => (world.dropped += 1),
    onError: () => (world.errors += 1),
  };
  world.loop = new TelemetryLoop(parts, change.periodMs ?? 100);
  t.teardown(() => world.loop.stop());
  return world;
}

t.test('a session begins with a snapshot, and one that opens later gets its own', async (t) => {
  const world = makeWorld(t);
  await world.loop.start();
  world.loop.connected('one', 0);
  await eventually('the first snapshot', () => world.of('one').length > 0);
  t.match(world.of('one')[0], {
    snapshot: true,
    host: { loadAverage_1m: 1 },
    agent: { rssBytes: 1e8 },
    gpus: [{ index: 0, utilizationRatio: 0.5, health: 'ok', uuid: undefined }],
    engines: [{ engine: 'e', incarnation: 1, hostMemoryBytes: 5e8, gpuMemoryBytes: 6e10, sleeping: false }],
  });
  await eventually('deltas', () => world.of('one').length > 3);
  world.loop.connected('two', 0);
  await eventually('the second snapshot', () => world.of('two').length > 0);
  t.equal(world.of('two')[0]?.snapshot, true);
  t.equal(world.of('one').filter(({ snapshot }) => snapshot).length, 1);
  world.loop.disconnected('one');
  const { length } = world.of('one');
  await eventually('the other goes on', () => world.of('two').length > 5);
  t.equal(world.of('one').length, length);
  world.loop.connected('one', 0);
  await eventually('again a snapshot', () => world.of('one').length > length);
  t.equal(world.of('one')[length]?.snapshot, true);
});

t.test('what a full session could not take is in the next message that it takes', async (t) => {
  const world = makeWorld(t);
  await world.loop.start();
  world.loop.connected('slow', 0);
  world.loop.connected('quick', 0);
  await eventually('both snapshots', () => world.of('slow').length > 0 && world.of('quick').length > 0);
  world.full.add('slow');
  const told = world.of('slow').length;
  world.health = 'quarantined';
  world.loop.pushNow();
  await eventually('the change at the other', () =>
    world.of('quick').some(({ gpus }) => gpus?.[0]?.health === 'quarantined'),
  );
  world.views = [view('f')];
  await eventually('drops', () => world.dropped > 2);
  t.equal(world.of('slow').length, told);
  world.full.delete('slow');
  await eventually('the slow one hears again', () => world.of('slow').length > told);
  t.match(world.of('slow')[told], {
    snapshot: undefined,
    gpus: [{ health: 'quarantined' }],
    engines: [{ engine: 'f' }],
    goneEngines: ['e'],
  });
});

t.test('what cannot wait is pushed at once, together, and so is a jump in load', async (t) => {
  const world = makeWorld(t, { periodMs: 3_600_000 });
  await world.loop.start();
  world.loop.connected('one', 0);
  await eventually('the snapshot', () => world.of('one').length === 1);
  world.health = 'unhealthy';
  for (let i = 0; i < 50; i++) world.loop.pushNow();
  await eventually('the push', () => world.of('one').length > 1);
  t.match(world.of('one')[1], { gpus: [{ health: 'unhealthy' }] });
  world.open['e'] = 40;
  await eventually('the jump', () => world.of('one').length > 2);
  t.match(world.of('one')[2], { engines: [{ relayedRequests: 40 }] });
  t.equal(world.of('one').length, 3, 'fifty calls of one moment are one push');
});

t.test('events that change where requests may go are followed by telemetry, progress of a start is not', async (t) => {
  const said: string[] = [];
  const links = {
    sendEngineEvent: ({ state }: { state?: unknown }) => void said.push(String(state)),
    sendGpuEvent: () => void said.push('gpu'),
    sendNodeEvent: () => void said.push('node'),
  } as unknown as SchedulerLinks;
  const pushing = pushingLinks(links, () => void said.push('push'));
  pushing.sendEngineEvent({ engine: 'e', state: 'ENGINE_STATE_STARTING' });
  pushing.sendEngineEvent({ engine: 'e', state: 'ENGINE_STATE_BACKOFF' });
  pushing.sendGpuEvent({ index: 0, quarantined: true });
  pushing.sendNodeEvent({ draining: true });
  t.same(said, ['ENGINE_STATE_STARTING', 'ENGINE_STATE_BACKOFF', 'push', 'gpu', 'push', 'node', 'push']);
});

t.test('progress is of one life: silence and pace while requests are open', async (t) => {
  const world = makeWorld(t, { periodMs: 3_600_000 });
  world.progress['e'] = {
    incarnation: 1,
    open: 1,
    lastProgressAtMs: systemClock.monotonicMs() - 5000,
    interTokenP50Ms: 12,
  };
  t.match(world.loop.picture().engines, [{ interTokenP50Ms: 12 }]);
  t.ok((world.loop.picture().engines[0]?.silentMs as number) >= 5000);
  world.progress['e'] = { incarnation: 1, open: 0, lastProgressAtMs: 1 };
  t.equal(world.loop.picture().engines[0]?.silentMs, undefined);
  world.progress['e'] = { incarnation: 2, open: 1, lastProgressAtMs: 1, interTokenP50Ms: 12 };
  t.equal(world.loop.picture().engines[0]?.interTokenP50Ms, undefined);
});

t.test('an engine that hangs delays neither the others nor the schedulers', async (t) => {
  const world = makeWorld(t, {
    load: (engine) => (engine === 'hang' ? new Promise(() => undefined) : Promise.resolve({ runningRequests: 3 })),
  });
  world.views = [view('hang'), view('e'), view('starting', { status: 'starting' })];
  await world.loop.start();
  world.loop.connected('one', 0);
  await eventually('the load of the good engine', () =>
    world.of('one').some(({ engines }) => engines?.some((one) => one.engine === 'e' && one.runningRequests === 3)),
  );
  const { length } = world.of('one');
  await eventually('more rounds', () => world.of('one').length > length + 3);
  t.equal(world.asked.filter((engine) => engine === 'hang').length, 1, 'it is not asked again while it owes an answer');
  t.equal(world.asked.includes('starting'), false);
});

t.test('a load that becomes unknown goes, and another life of an engine begins without one', async (t) => {
  let answer: EngineLoad | undefined = { runningRequests: 3 };
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const reader = new EngineLoadReader({ clock, probe: { load: async () => answer }, timeoutMs: 1000 });
  await reader.refresh([view('e')], {}, 1000);
  t.same(reader.newest.get('e'), { runningRequests: 3 });
  answer = undefined;
  nowMs += 20_000;
  await reader.refresh([view('e')], {}, 1000);
  t.equal(reader.newest.size, 0);
  answer = { runningRequests: 1 };
  await reader.refresh([view('e', { incarnation: 2 })], {}, 1000);
  t.same(reader.newest.get('e'), { runningRequests: 1 });
  await reader.refresh([view('e', { incarnation: 2, status: 'stopping' })], {}, 1000);
  t.equal(reader.newest.size, 0);
});

t.test('a host that cannot be read is reported, and the next round comes', async (t) => {
  let broken = false;
  const world = makeWorld(t, {
    host: () => (broken ? Promise.reject(new Error('no /proc')) : Promise.resolve({})),
  });
  await world.loop.start();
  broken = true;
  await eventually('reports', () => world.errors > 1);
  t.ok(world.errors > 1);
});
