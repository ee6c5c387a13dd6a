/**
 * Whole fleets in memory: real run loops, real control, a store in memory, and agents that obey as agents do (they judge
 * orders by the agent's own rule, start engines and stop them with a delay). The clock is the test's, so that minutes of a
 * fleet's life take milliseconds, and after each step it is looked whether any GPU has two engines.
 */
import { seededRandom } from '../../../lib/rng.ts';
import type { NodeId } from '../../../lib/ids.ts';
import { createMetrics } from '../../../lib/io/metrics.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { loadSettings } from '../../../lib/io/settings.ts';
import { mayShare } from '../../../agent/core/gpu_shares.ts';
import { observeTerm } from '../../../agent/core/reconcile.ts';
import { settings } from '../../../scheduler/config.ts';
import type { JsonObject } from '../../../scheduler/core/events/json.ts';
import type { AppendItem } from '../../../scheduler/core/events/store_port.ts';
import type { DeploymentSpec, DeploymentStatus, ReconcileView } from '../../../scheduler/core/resources/contract.ts';
import type { FleetSink, SessionHandle } from '../../../scheduler/ports.ts';
import { createRunLoop, type RunLoop } from '../../../scheduler/run_loop.ts';
import { createReconcile, type Reconcile, type ReconcileStore } from '../../../scheduler/wire/reconcile.ts';
import { createMemoryStore, type MemoryStore } from '../../support/control/memory_store.ts';
import { type FakeClock, fakeClock, LOOP_OPTIONS, recordedFigures } from '../fakes.ts';
import { FakeNode, GIB, type Listeners, type NodeOptions } from './fake_node.ts';

const STEP_MS = 50;

export interface FakeScheduler {
  readonly id: string;
  readonly control: Reconcile;
  readonly loop: RunLoop;
  readonly sink: FleetSink;
  readonly view: ReconcileView;
  readonly lines: string[];
  /** A process that is stopped does nothing and hears nothing, and its clock goes on. */
  paused: boolean;
  readonly sessions: Map<string, SessionHandle>;
}

export class Harness implements Listeners {
  readonly clock: FakeClock = fakeClock();
  /** How far the store's clock is from ours. */
  skewMs = 0;
  readonly memory: MemoryStore = createMemoryStore(() => this.clock.monotonicMs() + this.skewMs);
  readonly schedulers = new Map<string, FakeScheduler>();
  readonly nodes = new Map<string, FakeNode>();
  /** GPUs that had two engines at once. */
  readonly doubles: string[] = [];
  unused = false;
  gap: string | undefined;
  readonly #onRead: (() => void)[] = [];
  readonly #listeners = new Map<string, () => void>();
  #appends = 0;
  #inbox: { readonly to: FakeScheduler; readonly take: () => void }[] = [];

  get nowMs(): number {
    return this.clock.monotonicMs();
  }

  start(
    id: string,
    more: Readonly<Record<string, unknown>> = {},
    deps: Partial<Parameters<typeof createReconcile>[0]> = {},
  ) {
    const file = {
      schedulerId: id,
      fleetCertFile: 'c',
      fleetKeyFile: 'k',
      fleetCaFile: 'a',
      leaseTtlMs: 2000,
      nodeLostMs: 5000,
      engineFailedMs: 500,
      ...more,
    };
    const input = { argv: ['--config', 'f'], env: {}, readFile: () => JSON.stringify(file) };
    const { config } = loadSettings(settings, input);
    const lines: string[] = [];
    const say = (_fields: object, message: string): void => void lines.push(message);
    const logger = { info: say, warn: say, error: say, debug: () => undefined } as unknown as Logger;
    const clock = this.#clockOf(id);
    const control = createReconcile({
      config,
      clock,
      logger,
      metrics: createMetrics({ processMetrics: false }),
      startedAtMs: 7,
      life: `life${this.#appends}-${this.schedulers.size}-${this.nowMs}`,
      log: this.log(id),
      ...deps,
    });
    const loop = createRunLoop({
      clock,
      random: seededRandom(1),
      logger,
      figures: recordedFigures(),
      desiredFor: control.desiredFor,
      configuredModels: [],
      options: LOOP_OPTIONS,
    });
    const sink = control.sinkOf(loop.fleetSink);
    const view = control.view as ReconcileView;
    const scheduler: FakeScheduler = { id, control, loop, sink, view, lines, paused: false, sessions: new Map() };
    this.schedulers.set(id, scheduler);
    for (const node of this.nodes.values()) if (node.connected) this.#connect(scheduler, node);
    control.start(loop.inspector.directory.state);
    return scheduler;
  }

  /** The log as a scheduler's control plane gives it. */
  log(id: string): ReconcileStore {
    return {
      store: this.memory.store,
      projection: () => this.memory.projection,
      isUnused: () => this.unused,
      onRead: (listener) => {
        if (this.unused) this.#onRead.push(listener);
        else listener();
      },
      onEvents: (listener) => {
        this.#listeners.set(id, listener);
        return () => this.#listeners.delete(id);
      },
      gap: () => this.gap,
    };
  }

  /** Somebody uses the store for the first time. */
  use(): void {
    this.unused = false;
    for (const listener of this.#onRead.splice(0)) listener();
  }

  /** It ends without a word, as by SIGKILL. */
  kill(id: string): void {
    const scheduler = this.schedulers.get(id) as FakeScheduler;
    scheduler.paused = true;
    this.schedulers.delete(id);
  }

  addNode(name: string, options: NodeOptions = {}): FakeNode {
    const node = new FakeNode(this, name, options);
    this.nodes.set(name, node);
    for (const scheduler of this.schedulers.values()) this.#connect(scheduler, node);
    return node;
  }

  /** The host has lost its network; with `kills` its power too. */
  cut(name: string, kills = false): void {
    const node = this.nodes.get(name) as FakeNode;
    node.connected = false;
    if (kills) node.engines.clear();
    for (const scheduler of this.schedulers.values()) {
      const session = scheduler.sessions.get(name);
      scheduler.sessions.delete(name);
      if (session !== undefined) this.deliver(scheduler, () => scheduler.sink.onSessionLost(session));
    }
  }

  reconnect(name: string): void {
    const node = this.nodes.get(name) as FakeNode;
    node.restore();
    node.connected = true;
    node.session += 1;
    for (const scheduler of this.schedulers.values()) this.#connect(scheduler, node);
  }

  tell(node: NodeId, say: (sink: FleetSink, session: SessionHandle) => void): void {
    for (const scheduler of this.schedulers.values()) {
      const session = scheduler.sessions.get(node);
      if (session !== undefined) this.deliver(scheduler, () => say(scheduler.sink, session));
    }
  }

  /** A stopped process gets what was said when it goes on. */
  deliver(to: FakeScheduler, take: () => void): void {
    if (to.paused) this.#inbox.push({ to, take });
    else take();
  }

  resume(id: string): void {
    const scheduler = this.schedulers.get(id) as FakeScheduler;
    scheduler.paused = false;
    const mine = this.#inbox.filter(({ to }) => to === scheduler);
    this.#inbox = this.#inbox.filter(({ to }) => to !== scheduler);
    for (const { take } of mine) take();
  }

  async run(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    while (this.nowMs < endMs) {
      this.clock.advance(STEP_MS);
      for (const node of this.nodes.values()) node.tick(this.nowMs);
      this.#lookForDoubles();
      for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Runs until it holds. @throws Error after `limitMs` of the fleet's time */
  async until(what: string, holds: () => boolean, limitMs = 60_000): Promise<void> {
    const endMs = this.nowMs + limitMs;
    while (!holds()) {
      if (this.nowMs >= endMs) {
        const lines = [...this.schedulers.values()].flatMap(({ id, lines: all }) =>
          all.slice(-25).map((l) => `${id}: ${l}`),
        );
        throw new Error(`it did not come to ${what}:\n${lines.join('\n')}`);
      }
      await this.run(STEP_MS);
    }
  }

  async append(item: Omit<AppendItem, 'actor' | 'reason' | 'correlationId'>): Promise<void> {
    this.#appends += 1;
    const words = { actor: 'key:test', reason: 'test', correlationId: 'c' };
    const request = { idempotencyId: `test-${this.#appends}`, items: [{ ...item, ...words }] };
    const outcome = await this.memory.store.append(request);
    if (outcome.kind !== 'appended') throw new Error(JSON.stringify(outcome));
    for (const listener of this.#listeners.values()) listener();
  }

  declare(kind: string, name: string, spec: object, labels: Readonly<Record<string, string>> = {}): Promise<void> {
    const isThere = this.memory.projection.get('desired', kind, name) !== undefined;
    const after = { spec: spec as JsonObject, labels };
    return this.append({ kind: isThere ? 'desired.changed' : 'desired.created', resource: { kind, name }, after });
  }

  undeclare(kind: string, name: string): Promise<void> {
    return this.append({ kind: 'desired.deleted', resource: { kind, name }, after: null });
  }

  /** Of the scheduler that leads, or of any. */
  status(name: string): DeploymentStatus {
    const all = [...this.schedulers.values()].filter(({ paused }) => !paused);
    const one = all.find(({ view }) => view.leader().isLeader) ?? all[0];
    return one?.view.deploymentStatus(name) as DeploymentStatus;
  }

  ready(name: string, count: number): boolean {
    const status = this.status(name);
    return status.ready === count && status.replicas.length === count && status.wanted === count;
  }

  nodesOf(name: string): string[] {
    return this.status(name)
      .replicas.flatMap(({ gpus }) => gpus.map(({ node }) => node))
      .sort();
  }

  leaders(): string[] {
    return [...this.schedulers.values()]
      .filter(({ paused, view }) => !paused && view.leader().isLeader)
      .map(({ id }) => id);
  }

  actions(): Record<string, unknown>[] {
    return this.memory.rows
      .filter(({ kind }) => kind === 'action.taken')
      .map(({ body }) => JSON.parse(body).after as Record<string, unknown>);
  }

  #connect(scheduler: FakeScheduler, node: FakeNode): void {
    const session: SessionHandle = {
      nodeName: node.name,
      sessionId: `${node.name}-${node.session}`,
      sendCommand: () => undefined,
      close: () => undefined,
      sendDesiredState(state) {
        if (scheduler.paused || !scheduler.control.mayOrder()) return;
        if (scheduler.sessions.get(node.name) === session) node.obey(scheduler.control.term(), state);
      },
    };
    this.deliver(scheduler, () => {
      scheduler.sessions.set(node.name, session);
      node.orders = observeTerm(node.orders, scheduler.control.term());
      scheduler.sink.onHello(session, node.hello());
      scheduler.sink.onTelemetry(session, node.reading());
    });
  }

  /** The clock of a process that may be stopped: its timers ring late, its time goes on. */
  #clockOf(id: string): FakeClock {
    const { clock } = this;
    return {
      ...clock,
      wallMs: () => clock.wallMs(),
      monotonicMs: () => clock.monotonicMs(),
      timers: 0,
      after: (delayMs, task) => {
        const guarded = (): void => {
          const scheduler = this.schedulers.get(id);
          if (scheduler?.paused === true) this.#inbox.push({ to: scheduler, take: task });
          else if (scheduler !== undefined) task();
        };
        return clock.after(delayMs, guarded);
      },
    };
  }

  #lookForDoubles(): void {
    for (const node of this.nodes.values()) {
      const held = new Map<number, { name: string; share: number | undefined }[]>();
      for (const [name, { spec }] of node.engines) {
        for (const gpu of spec.gpuIds ?? []) {
          const beside = [...(held.get(gpu) ?? []), { name, share: spec.gpuMemoryShare as number | undefined }];
          held.set(gpu, beside);
          if (!mayShare(beside.map(({ share }) => share)))
            this.doubles.push(`${node.name} GPU ${gpu}: ${beside.map((each) => each.name).join(' and ')}`);
        }
      }
    }
  }
}

export const deployment = (replicas: number, more: Partial<DeploymentSpec> = {}): DeploymentSpec => ({
  engine: 'vllm',
  model: 'm',
  servedModelName: 'm',
  replicas,
  gpusPerHost: 1,
  gpuMemoryBytes: 40 * GIB,
  extraFlags: [],
  environment: {},
  ...more,
});
