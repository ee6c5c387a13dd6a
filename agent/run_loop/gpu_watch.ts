/**
 * Watches the GPUs of the host: takes what the reader tells, lets the pure core judge it, keeps the outcome on disk, and
 * passes events and orders on. The state is saved before an order leaves, so that a quarantine outlives any crash.
 */
import type { Clock } from '../../lib/clock.ts';
import type { GpuEvent } from '../../proto/gen/fleet/v1/GpuEvent.ts';
import { gpuHealthStep } from '../core/gpu_health.ts';
import {
  type GpuHealthContext,
  type GpuHealthInput,
  type GpuHealthPolicy,
  type GpuHealthState,
  type GpuOrder,
  healthOfGpu,
  NO_GPU_HEALTH,
  quarantinedNow,
} from '../core/gpu_health_state.ts';
import type { GpuReader } from '../ports.ts';

/** Where the state is kept. Loading and saving never throw: a failure is a named degraded mode. */
export interface GpuHealthStore {
  load(): { readonly state?: GpuHealthState; readonly degraded?: string };
  /** Answers why it could not be saved. */
  save(state: GpuHealthState): string | undefined;
}

export interface GpuWatchLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface GpuWatchParts {
  readonly reader: GpuReader;
  readonly store: GpuHealthStore;
  readonly clock: Clock;
  /** Of the kernel: tells reboots apart. */
  readonly bootId: string;
  readonly policy: GpuHealthPolicy;
  readonly log: GpuWatchLog;
  /** To the schedulers. */
  readonly onEvent: (event: GpuEvent) => void;
  /** To the engines. */
  readonly onOrder: (order: GpuOrder) => void;
  /** GPUs of other hosts that the brake counts in. */
  readonly elsewhere?: () => { readonly quarantined: number; readonly total: number };
}

export type ReleaseOutcome = 'released' | 'not_quarantined' | 'unknown_gpu';

const TICK_MS = 5000;

/** What is worth a write: not the times of sight, which change with every sample. */
const digestOf = (state: GpuHealthState): string =>
  JSON.stringify(state, (key, value: unknown) => (key === 'seenAtMs' || key === 'slowMinutes' ? undefined : value));

export class GpuWatch {
  readonly #parts: GpuWatchParts;
  #state: GpuHealthState = NO_GPU_HEALTH;
  #saved = '';
  #degraded: string | undefined;
  #startedAtMs = 0;
  #cancelTick: () => void = () => undefined;
  #stopped = false;

  constructor(parts: GpuWatchParts) {
    this.#parts = parts;
  }

  /** Takes up what an earlier agent left, tells the engines of its quarantines, and listens from now on. */
  start(): void {
    const { store, reader, clock, log, onOrder } = this.#parts;
    const { state, degraded } = store.load();
    this.#startedAtMs = clock.wallMs();
    if (state !== undefined) this.#state = state;
    this.#saved = digestOf(this.#state);
    this.#degraded = degraded;
    if (degraded !== undefined) log.warn({ degraded }, 'the health of the GPUs is not kept');
    for (const { index, quarantine } of Object.values(this.#state.gpus))
      if (quarantine !== undefined)
        onOrder({ kind: 'quarantine', gpu: index, reason: quarantine.kind, message: quarantine.message });
    reader.onIncident((incident) => this.#take({ kind: 'incident', incident }));
    reader.onSample((sample) => this.#take({ kind: 'sample', sample }));
    this.#tickLater();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTick();
  }

  /** A person lifts a quarantine. */
  release(gpu: number, actor: string, reason: string): ReleaseOutcome {
    const records = Object.values(this.#state.gpus).filter(({ index }) => index === gpu);
    if (records.length === 0) return 'unknown_gpu';
    if (records.every(({ quarantine, held }) => quarantine === undefined && held === undefined))
      return 'not_quarantined';
    this.#take({ kind: 'release', index: gpu, actor, reason });
    return 'released';
  }

  /** The quarantined GPUs, one event each. */
  current(): GpuEvent[] {
    return quarantinedNow(this.#state);
  }

  /** A GPU that nobody knows of is `ok`: there is nothing to say against it. */
  healthOf(gpu: number): 'ok' | 'degraded' | 'unhealthy' | 'quarantined' {
    return healthOfGpu(this.#state, gpu, this.#parts.clock.wallMs(), this.#parts.bootId);
  }

  get blind(): boolean {
    return this.#state.blind;
  }

  /** The degraded mode and its reason: quarantines may be unknown, or may be lost at the next start. */
  get degraded(): string | undefined {
    return this.#degraded;
  }

  #tickLater(): void {
    this.#cancelTick = this.#parts.clock.after(TICK_MS, () => {
      this.#take({ kind: 'tick', sample: this.#parts.reader.latest() });
      this.#tickLater();
    });
  }

  #take(input: GpuHealthInput): void {
    if (this.#stopped) return;
    const { clock, bootId, policy, elsewhere, log, onEvent, onOrder } = this.#parts;
    const context: GpuHealthContext = {
      nowMs: clock.wallMs(),
      startedAtMs: this.#startedAtMs,
      bootId,
      policy,
      elsewhere: elsewhere?.() ?? { quarantined: 0, total: 0 },
    };
    const { state, effects } = gpuHealthStep(this.#state, input, context);
    this.#state = state;
    if (effects.length > 0 || input.kind === 'tick') this.#save();
    for (const effect of effects) {
      if (effect.kind === 'order') onOrder(effect.order);
      else {
        const { action, index, kind, xid, quarantined, message } = effect.event;
        const fields = { gpu: index, kind, ...(xid === undefined ? {} : { xid }), action, quarantined };
        // To see nothing of a GPU is an alarm, though there is nothing to be done to it.
        if (action === 'GPU_ACTION_RECORD' && kind !== 'blind') log.info(fields, `GPU ${index}: ${message}`);
        else log.warn(fields, `GPU ${index}: ${message}`);
        onEvent(effect.event);
      }
    }
  }

  #save(): void {
    const { store, log } = this.#parts;
    const digest = digestOf(this.#state);
    if (digest === this.#saved) return;
    const failure = store.save(this.#state);
    if (failure === undefined) this.#saved = digest;
    else if (failure !== this.#degraded) log.warn({ degraded: failure }, 'the health of the GPUs is not kept');
    this.#degraded = failure;
  }
}
