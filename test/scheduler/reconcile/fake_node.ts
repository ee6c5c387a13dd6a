/**
 * An agent for tests of reconcile: it judges orders by the agent's own rule, starts and stops engines with a delay, and tells
 * every scheduler that it is connected to. No process, no socket.
 */
import { judgeOrder, type OrderState } from '../../../agent/core/reconcile.ts';
import type { NodeId } from '../../../lib/ids.ts';
import type { DesiredState } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineEvent__Output } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { EngineSpec } from '../../../proto/gen/fleet/v1/EngineSpec.ts';
import type { GpuEvent__Output } from '../../../proto/gen/fleet/v1/GpuEvent.ts';
import type { ModelReading__Output } from '../../../proto/gen/fleet/v1/ModelReading.ts';
import type { ServedModel__Output } from '../../../proto/gen/fleet/v1/ServedModel.ts';
import type { SpecRejection__Output } from '../../../proto/gen/fleet/v1/SpecRejection.ts';
import type { FleetSink, SessionHandle } from '../../../scheduler/ports.ts';
import { engineEvent, hello, telemetry } from '../fakes.ts';

export const GIB = 2 ** 30;
export const GPU_BYTES = 80 * GIB;
const READING_MS = 1000;
const START_MS = 200;
const STOP_MS = 300;

/** Where an agent's words go. */
export interface Listeners {
  readonly nowMs: number;
  tell(node: NodeId, say: (sink: FleetSink, session: SessionHandle) => void): void;
}

interface FakeEngine {
  readonly spec: EngineSpec;
  incarnation: number;
  state: EngineEvent__Output['state'];
  dueAtMs: number;
}

export interface NodeOptions {
  readonly gpus?: number;
  /** What the driver keeps of each GPU for itself; absent: an agent that does not tell. */
  readonly driverBytes?: number;
  /** What others use of each GPU; absent: 1 GiB. */
  readonly idleBytes?: number;
  readonly change?: Parameters<typeof hello>[0];
  /** Engines whose name matches never become ready, and are given up. */
  readonly fails?: RegExp;
  readonly rejects?: RegExp;
  /** What its agent says why it gave one up. */
  readonly failsWith?: string;
}

export class FakeNode {
  readonly name: NodeId;
  readonly engines = new Map<string, FakeEngine>();
  options: NodeOptions;
  orders: OrderState = {};
  readonly stale: string[] = [];
  /** What each of its engines says that it serves. */
  readonly models: ServedModel__Output[] = [];
  /** On its disk: an agent that starts again begins with what it was told last. */
  remembered: DesiredState | undefined;
  /** What it says of the files of models. */
  modelReadings: ModelReading__Output[] = [];
  /** What readings say of GPUs that are not sound. */
  readonly health = new Map<number, string>();
  connected = true;
  session = 0;
  starts = 0;
  readonly #fleet: Listeners;

  constructor(fleet: Listeners, name: string, options: NodeOptions) {
    this.#fleet = fleet;
    this.name = name as NodeId;
    this.options = options;
  }

  obey(term: number, desired: DesiredState): void {
    const generation = Number(desired.generation);
    const verdict = judgeOrder(this.orders, term, generation);
    if (verdict.kind === 'ignore') {
      this.stale.push(verdict.code);
      return;
    }
    this.orders = verdict.orders;
    this.remembered = desired;
    const specs = (desired.engines ?? []) as EngineSpec[];
    const rejected = specs.filter((spec) => this.options.rejects?.test(spec.name as string) === true);
    const wanted = new Map(specs.filter((spec) => !rejected.includes(spec)).map((spec) => [spec.name as string, spec]));
    for (const [name, engine] of this.engines) if (!wanted.has(name)) this.#stop(name, engine);
    for (const [name, spec] of wanted) if (!this.engines.has(name)) this.#begin(name, spec);
    const rejections = rejected.map(
      ({ name }): SpecRejection__Output => ({
        engine: name as string,
        code: 'invalid_spec',
        message: 'no',
        param: 'x',
      }),
    );
    this.#tell((sink, session) => sink.onDesiredStateAck(session, generation, rejections));
  }

  /** Its agent starts again, before it has heard of anybody. */
  restore(): void {
    for (const spec of (this.remembered?.engines ?? []) as EngineSpec[])
      if (!this.engines.has(spec.name as string)) this.#begin(spec.name as string, spec);
  }

  /** What is due happens. */
  tick(nowMs: number): void {
    if (nowMs % READING_MS === 0) this.#tell((sink, session) => sink.onTelemetry(session, this.reading()));
    for (const [name, engine] of this.engines) {
      if (engine.dueAtMs > nowMs) continue;
      engine.dueAtMs = Infinity;
      if (engine.state === 'ENGINE_STATE_DRAINING') {
        this.engines.delete(name);
        this.#event(name, engine, 'ENGINE_STATE_STOPPED');
      } else {
        const isBad = this.options.fails?.test(name) === true;
        this.#event(name, engine, isBad ? 'ENGINE_STATE_FAILED' : 'ENGINE_STATE_READY');
      }
    }
  }

  #usable() {
    const { driverBytes } = this.options;
    return driverBytes === undefined ? {} : { memoryUsableBytes: GPU_BYTES - driverBytes };
  }

  /** Engines take half of what is promised to them, which is 40 GiB. */
  reading() {
    const engines = [...this.engines].map(([engine]) => ({ engine, incarnation: 1, gpuMemoryBytes: 20 * GIB }));
    const used = new Map<number, number>();
    for (const { spec } of this.engines.values())
      for (const gpu of spec.gpuIds ?? []) used.set(gpu, (used.get(gpu) ?? 0) + 20 * GIB);
    const gpus = this.hello().gpus.map(({ index }) => ({
      index,
      memoryTotalBytes: GPU_BYTES,
      ...this.#usable(),
      memoryUsedBytes: (this.options.idleBytes ?? GIB) + (used.get(index) ?? 0),
      numaNode: 0,
      health: this.health.get(index) ?? 'ok',
      c2cLinkCount: 1,
    }));
    const models = [...this.modelReadings];
    return { ...telemetry([]), engines, gpus, models, host: { memoryUsedBytes: GIB } } as ReturnType<typeof telemetry>;
  }

  /** Its agent says this of one of its engines. */
  say(name: RegExp, state: EngineEvent__Output['state'], reason: string, message: string): void {
    for (const [engine, record] of this.engines) {
      if (!name.test(engine)) continue;
      record.state = state;
      record.dueAtMs = Infinity;
      const event = { ...this.#eventOf(engine, record), reason, message, atMs: this.#fleet.nowMs };
      this.#tell((sink, session) => sink.onEngineEvent(session, event));
    }
  }

  gpuEvent(index: number, quarantined: boolean): void {
    const event = { index, kind: 'xid', action: 'GPU_ACTION_DRAIN', quarantined, message: 'XID 79' };
    this.#tell((sink, session) => sink.onGpuEvent(session, event as unknown as GpuEvent__Output));
  }

  hello() {
    const count = this.options.gpus ?? 2;
    const gpus = Array.from({ length: count }, (_, index) => ({
      index,
      name: 'H100',
      uuid: `GPU-abcdef00-0000-${index}`,
      memoryTotalBytes: GPU_BYTES,
      ...this.#usable(),
      driverVersion: '570.1',
    }));
    const { term, generation } = this.orders;
    return hello({
      nodeName: this.name,
      sessionId: `${this.name}-${this.session}`,
      gpus,
      host: { architecture: 'x64', memoryBytes: 512 * GIB },
      engines: [...this.engines].map(([name, engine]) => this.#eventOf(name, engine)),
      ...(term === undefined ? {} : { observedTerm: term }),
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      ...this.options.change,
    });
  }

  #begin(name: string, spec: EngineSpec): void {
    this.starts += 1;
    const engine: FakeEngine = {
      spec,
      incarnation: 1,
      state: 'ENGINE_STATE_PENDING',
      dueAtMs: this.#fleet.nowMs + START_MS,
    };
    this.engines.set(name, engine);
    this.#event(name, engine, 'ENGINE_STATE_STARTING');
  }

  #stop(name: string, engine: FakeEngine): void {
    if (engine.state === 'ENGINE_STATE_DRAINING') return;
    engine.dueAtMs = this.#fleet.nowMs + STOP_MS;
    this.#event(name, engine, 'ENGINE_STATE_DRAINING');
  }

  #eventOf(name: string, { incarnation, state }: FakeEngine): EngineEvent__Output {
    return engineEvent({ engine: name, incarnation, state, models: [...this.models] });
  }

  #event(name: string, engine: FakeEngine, state: FakeEngine['state']): void {
    engine.state = state;
    const { failsWith } = this.options;
    const why = state === 'ENGINE_STATE_FAILED' && failsWith !== undefined ? { reason: failsWith } : {};
    this.#tell((sink, session) => sink.onEngineEvent(session, { ...this.#eventOf(name, engine), ...why }));
  }

  #tell(say: (sink: FleetSink, session: SessionHandle) => void): void {
    if (this.connected) this.#fleet.tell(this.name, say);
  }
}
