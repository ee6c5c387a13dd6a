/** Rollouts and aliases as they are plugged into a scheduler: the loop comes later, and aliases are those of the moment. */
import t from 'tap';
import type { EngineId } from '../../lib/ids.ts';
import { readDeclared } from '../../scheduler/core/reconcile/declared.ts';
import type { TrafficRules } from '../../scheduler/core/routing/traffic_rules.ts';
import { NO_TALLY } from '../../scheduler/core/rollout/tallies.ts';
import type { AdmittedRequest, GenerationSink, Generator, LaneHandle, LaneOrder } from '../../scheduler/ports.ts';
import { createRollouts, withLiveAliases } from '../../scheduler/wire/rollouts.ts';
import { silentLog, testLoop } from './fakes.ts';
import { deployment, Harness } from './reconcile/harness.ts';

/** A log of a few entries. */
class Log {
  count = 0;
  readonly #entries = new Map<string, { readonly kind: string; readonly name: string; readonly value: object }>();

  put(kind: string, name: string, spec: object): void {
    this.count += 1;
    this.#entries.set(`${kind}/${name}`, { kind, name, value: { spec, labels: {} } });
  }

  projection = () =>
    ({
      seq: () => this.count,
      list: (_area: string, kind: string) => [...this.#entries.values()].filter((entry) => entry.kind === kind),
      get: (_area: string, kind: string, name: string) => this.#entries.get(`${kind}/${name}`),
    }) as never;
}

t.test('aliases follow what is declared, request by request', async (t) => {
  const { loop } = testLoop();
  const known = { models: () => [{ id: 'm1' }, { id: 'm2' }] as never, ready: () => ({ ok: true, reason: '' }) };
  const asked: string[] = [];
  const inner = {
    start: (request: AdmittedRequest) => void asked.push(request.model),
    cancel: () => false,
  } as unknown as Generator;
  const log = new Log();
  const { generator, fleetView } = withLiveAliases(
    inner,
    { inspector: loop.inspector, fleetView: known },
    log.projection,
  );
  const ask = (model: string): void => {
    const body = new TextEncoder().encode(JSON.stringify({ model }));
    generator.start({ model, body } as AdmittedRequest, {} as never, 1);
  };
  const models = (): string[] => fleetView.models('t' as never).map(({ id }) => id);
  ask('gpt');
  t.notOk(models().includes('gpt'));
  log.put('Deployment', 'chat', { servedModelName: 'm1' });
  log.put('Alias', 'gpt', { targets: [{ deployment: 'chat', weight: 1 }] });
  ask('gpt');
  t.ok(models().includes('gpt'));
  log.put('Deployment', 'code', { servedModelName: 'm2' });
  log.put('Alias', 'gpt', { targets: [{ deployment: 'code', weight: 1 }] });
  ask('gpt');
  t.same(asked, ['gpt', 'm1', 'm2']);
});

t.test('what is divided before there is a loop is told it when it comes', async (t) => {
  const rollouts = createRollouts(silentLog);
  const entry = {
    area: 'lifecycle',
    kind: 'Rollout',
    name: 'chat',
    version: 1,
    value: { seen: 'r', current: { id: 'r', spec: {} }, running: null, history: [] },
  };
  const deployed = { area: 'desired', kind: 'Deployment', name: 'chat', version: 1, value: { spec: {}, labels: {} } };
  const declared = readDeclared({ entries: () => [entry, deployed], seq: () => 1 } as never);
  const fleet = { nodes: new Map() };
  rollouts.runner.takeUp(declared, fleet);
  const told: TrafficRules[] = [];
  const { loop } = testLoop();
  const { inspector } = loop;
  const router = { ...inspector.router, divide: (rules: TrafficRules) => void told.push(rules) };
  rollouts.use({ inspector: { ...inspector, router } as never });
  t.equal(told.length, 1);
  t.equal(told[0]?.markOf('n/e' as EngineId), undefined);
  t.notOk(rollouts.runner.isRunning);
  rollouts.runner.takeUp({ ...declared, deployments: new Map() }, fleet);
  t.equal(told.length, 2);
});

t.test('a replica is asked once its node has a lane, and what it serves decides what it is asked', async (t) => {
  const fleet = new Harness();
  const node = fleet.addNode('n1', { gpus: 2 });
  const rollouts = createRollouts(silentLog);
  const scheduler = fleet.start('a', {}, { rollouts: rollouts.runner });
  const sent: { readonly path: string; readonly text: string }[] = [];
  const lane = {
    submit({ meta, body }: LaneOrder, sink: GenerationSink) {
      sent.push({ path: meta.path, text: Buffer.from(body).toString() });
      sink.onBody(Buffer.from(JSON.stringify({ data: [{ embedding: [1, 2] }] })), true);
      sink.onDone(undefined);
      return { grant: () => undefined, cancel: () => undefined };
    },
  } as unknown as LaneHandle;
  let isOpen = false;
  const { inspector } = scheduler.loop;
  const directory = { state: inspector.directory.state, laneFor: () => (isOpen ? lane : undefined) };
  const router = { divide: () => undefined, tallies: { of: () => NO_TALLY } };
  rollouts.use({ inspector: { ...inspector, directory, router } as never });
  node.models.push({ id: 'm', capabilities: ['embeddings'], simulated: false });
  await fleet.declare('Deployment', 'vectors', deployment(1));
  await fleet.until('the engine to run', () => fleet.ready('vectors', 1));
  await fleet.run(3000);
  t.equal(sent.length, 0);
  t.match(scheduler.view.rollout('vectors')?.lines.at(-1), /smoke/, 'it waits, and has not failed');
  isOpen = true;
  await fleet.until('it to be over', () => scheduler.view.rollout('vectors')?.phase === 'done');
  t.match(sent, [{ path: '/v1/embeddings', text: /"model":"m"/ }]);
  t.equal(sent.length, 1);
});
