/**
 * Tells every scheduler how this host is: the whole picture when its session opens, then once per period what changed,
 * and at once when something happened that cannot wait. Each scheduler has a base of its own, which moves only when its
 * session took the message: a session that can take no more is passed over, and its next delta covers what it missed.
 * The picture is made of what is at hand; nothing here waits for an engine or a GPU that hangs.
 */
import { type Clock, untilNextBeatMs } from '../../lib/clock.ts';
import type { AgentReading } from '../../proto/gen/fleet/v1/AgentReading.ts';
import type { EngineReading } from '../../proto/gen/fleet/v1/EngineReading.ts';
import type { GpuFacts } from '../../proto/gen/fleet/v1/GpuFacts.ts';
import type { GpuReading } from '../../proto/gen/fleet/v1/GpuReading.ts';
import type { ModelReading } from '../../proto/gen/fleet/v1/ModelReading.ts';
import type { HostReading } from '../../proto/gen/fleet/v1/HostReading.ts';
import type { Telemetry } from '../../proto/gen/fleet/v1/Telemetry.ts';
import { usableBytes } from '../core/gpu_sample.ts';
import type { StartMemory } from '../core/startup_log.ts';
import { deltaOf, loadJumped, type Picture, type TelemetryBase } from '../core/telemetry_delta.ts';
import type {
  EngineLoad,
  EngineView,
  GpuReader,
  GpuSample,
  GpuState,
  HostFactsReader,
  Relay,
  RelayStats,
  SchedulerLinks,
} from '../ports.ts';

/** The newest load of each engine, as engine_loads.ts gathers it. */
export interface EngineLoads {
  /** Asks the engines that are due; never waits longer than `patienceMs` for their answers. */
  refresh(views: readonly EngineView[], open: Readonly<Record<string, number>>, patienceMs: number): Promise<void>;
  readonly newest: ReadonlyMap<string, EngineLoad>;
}

export interface TelemetryParts {
  readonly clock: Clock;
  readonly host: Pick<HostFactsReader, 'reading'>;
  readonly gpus: Pick<GpuReader, 'latest'>;
  readonly loads: EngineLoads;
  readonly relay: Pick<Relay, 'stats'>;
  readonly engines: () => readonly EngineView[];
  /** Host memory of the process trees. */
  readonly hostMemoryByEngine: () => ReadonlyMap<string, number>;
  readonly gpuMemoryByEngine?: () => ReadonlyMap<string, number>;
  /** `ok`, `degraded`, `unhealthy` or `quarantined`. */
  readonly gpuHealth?: (index: number) => string | undefined;
  /** The files of models. */
  readonly models?: () => readonly ModelReading[];
  readonly sleeping?: (engine: string) => boolean | undefined;
  /** What an engine said of its memory while it started. */
  readonly startMemory?: (engine: string) => StartMemory | undefined;
  /** Since it was asked last. */
  readonly agent: () => AgentReading;
  /** Hands a message to the session of a scheduler; false: it can take none now. */
  readonly send: (scheduler: string, telemetry: Telemetry) => boolean;
  readonly onSent: (kind: 'snapshot' | 'delta' | 'empty') => void;
  /** A sample was passed over because a session was full. */
  readonly onDropped: () => void;
  readonly onError: (error: unknown) => void;
}

/** States of an engine that change where requests may go: telemetry follows them at once. */
const URGENT: ReadonlySet<string> = new Set([
  'ENGINE_STATE_READY',
  'ENGINE_STATE_DRAINING',
  'ENGINE_STATE_STOPPING',
  'ENGINE_STATE_STOPPED',
  'ENGINE_STATE_BACKOFF',
  'ENGINE_STATE_FAILED',
  'ENGINE_STATE_QUARANTINED',
]);

/** The links to the schedulers, after whose urgent events `push` is called: a death, a drain, a quarantine. */
export function pushingLinks(links: SchedulerLinks, push: () => void): SchedulerLinks {
  return {
    ...links,
    sendEngineEvent(event) {
      links.sendEngineEvent(event);
      if (URGENT.has(String(event.state))) push();
    },
    sendGpuEvent(event) {
      links.sendGpuEvent(event);
      push();
    },
    sendNodeEvent(event) {
      links.sendNodeEvent(event);
      push();
    },
  };
}

/** How long a round waits for engines that answer before it speaks of those that have. */
const PATIENCE_MS = 150;
/** A jump in load is looked for this often; what is pushed at once is pushed at most this often. */
const JUMP_CHECK_MS = 250;
const PUSH_GAP_MS = 100;

/** What a session's first message says of a GPU. */
export function gpuFacts(gpu: GpuState): GpuFacts {
  const { index, uuid, name, memoryTotalBytes, driverVersion } = gpu;
  const memoryUsableBytes = usableBytes(gpu);
  return {
    index,
    ...(uuid === undefined ? {} : { uuid }),
    ...(name === undefined ? {} : { name }),
    ...(memoryTotalBytes === undefined ? {} : { memoryTotalBytes }),
    ...(memoryUsableBytes === undefined ? {} : { memoryUsableBytes }),
    ...(driverVersion === undefined ? {} : { driverVersion }),
  };
}

/** Fields of a GPU that are facts, not readings, or that travel in another form. */
type NotReadings = 'uuid' | 'name' | 'driverVersion' | 'persistenceMode' | 'processes';

export function gpuReading(gpu: GpuState, health: string | undefined): GpuReading {
  const { uuid: _u, name: _n, driverVersion: _d, persistenceMode: _p, processes: _s, ...readings } = gpu;
  const memoryUsableBytes = usableBytes(gpu);
  return {
    ...(readings satisfies Omit<GpuState, NotReadings>),
    ...(memoryUsableBytes === undefined ? {} : { memoryUsableBytes }),
    ...(health === undefined ? {} : { health }),
  };
}

type Known<Fields> = { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> };

/**
 * Readings of all GPUs; the same objects as before while the sample and the healths are the same, which is most of the
 * time, as GPUs are read less often than telemetry is sent.
 */
function createGpuReadings(): (sample: GpuSample, healthOf: (index: number) => string | undefined) => GpuReading[] {
  let of: readonly GpuState[] | undefined;
  let readings: GpuReading[] = [];
  return (sample, healthOf) => {
    const same = sample.gpus === of && readings.every(({ index = 0, health }) => health === healthOf(index));
    if (!same) readings = sample.gpus.map((gpu) => gpuReading(gpu, healthOf(gpu.index)));
    of = sample.gpus;
    return readings;
  };
}

/** Leaves out what is unknown. */
function known<Fields extends object>(fields: Fields): Known<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Known<Fields>;
}

interface Listener {
  periodMs: number;
  base: TelemetryBase | undefined;
  /** Monotonic milliseconds; 0: never. */
  sentAtMs: number;
}

export class TelemetryLoop {
  readonly #parts: TelemetryParts;
  readonly #defaultPeriodMs: number;
  readonly #listeners = new Map<string, Listener>();
  readonly #gpuReadings = createGpuReadings();
  #host: HostReading = {};
  #agent: AgentReading = {};
  #toldOpen: Readonly<Record<string, number>> = {};
  #cancelRound: () => void = () => undefined;
  #cancelJumps: () => void = () => undefined;
  #cancelPush: (() => void) | undefined;
  #pushedAtMs = Number.NEGATIVE_INFINITY;
  #stopped = true;

  /** @param defaultPeriodMs for schedulers that ask for no other */
  constructor(parts: TelemetryParts, defaultPeriodMs: number) {
    this.#parts = parts;
    this.#defaultPeriodMs = defaultPeriodMs;
  }

  /** Schedulers with a session. */
  get sessions(): number {
    return this.#listeners.size;
  }

  /** Resolves when there is a first picture, so that a session that opens then gets a full one. */
  async start(): Promise<void> {
    this.#stopped = false;
    this.#agent = this.#parts.agent();
    await this.#readHost();
    this.#later();
    this.#watchJumps();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelRound();
    this.#cancelJumps();
    this.#cancelPush?.();
  }

  /** A session is open: it gets a snapshot at once. @param periodMs as the scheduler asks; 0: it does not */
  connected(scheduler: string, periodMs: number): void {
    const asked = periodMs > 0 ? Math.max(100, periodMs) : this.#defaultPeriodMs;
    this.#listeners.set(scheduler, { periodMs: asked, base: undefined, sentAtMs: Number.NEGATIVE_INFINITY });
    this.pushNow();
  }

  disconnected(scheduler: string): void {
    this.#listeners.delete(scheduler);
  }

  /**
   * For a death, a drain, a quarantine: the schedulers hear at once how things stand. Calls of one turn, and of the time
   * since the last push that is too short to bother them again, become one.
   */
  pushNow(): void {
    if (this.#stopped || this.#cancelPush !== undefined) return;
    const { clock } = this.#parts;
    const waitMs = Math.max(0, this.#pushedAtMs + PUSH_GAP_MS - clock.monotonicMs());
    this.#cancelPush = clock.after(waitMs, () => {
      this.#cancelPush = undefined;
      this.#pushedAtMs = clock.monotonicMs();
      this.#tell(() => true);
    });
  }

  #periodMs(): number {
    return Math.min(this.#defaultPeriodMs, ...[...this.#listeners.values()].map(({ periodMs }) => periodMs));
  }

  #later(): void {
    if (this.#stopped) return;
    const { clock } = this.#parts;
    this.#cancelRound = clock.after(untilNextBeatMs(clock.monotonicMs(), this.#periodMs()), () => {
      this.#round()
        .catch((error: unknown) => this.#parts.onError(error))
        .finally(() => this.#later());
    });
  }

  async #round(): Promise<void> {
    const { loads, relay, engines } = this.#parts;
    await Promise.all([this.#readHost(), loads.refresh(engines(), relay.stats().openByEngine, PATIENCE_MS)]);
    if (this.#stopped) return;
    this.#agent = this.#parts.agent();
    const nowMs = this.#parts.clock.monotonicMs();
    // A little early is on time: otherwise a timer that rings a moment too soon would skip a whole period.
    this.#tell((listener) => nowMs - listener.sentAtMs >= 0.9 * listener.periodMs);
  }

  async #readHost(): Promise<void> {
    this.#host = await this.#parts.host.reading();
  }

  #watchJumps(): void {
    const { clock, relay } = this.#parts;
    this.#cancelJumps = clock.after(untilNextBeatMs(clock.monotonicMs(), JUMP_CHECK_MS), () => {
      if (loadJumped(this.#toldOpen, relay.stats().openByEngine)) this.pushNow();
      this.#watchJumps();
    });
  }

  #tell(isDue: (listener: Listener) => boolean): void {
    const due = [...this.#listeners].filter(([, listener]) => isDue(listener));
    if (due.length === 0) return;
    const { clock, relay, send, onSent, onDropped } = this.#parts;
    const nowMs = clock.monotonicMs();
    const picture = this.picture();
    this.#toldOpen = { ...relay.stats().openByEngine };
    for (const [scheduler, listener] of due) {
      const { message, base, changed } = deltaOf(listener.base, picture, nowMs);
      listener.sentAtMs = nowMs;
      if (send(scheduler, message)) {
        listener.base = base;
        onSent(message.snapshot === true ? 'snapshot' : changed ? 'delta' : 'empty');
      } else onDropped();
    }
  }

  /** Everything that is known now, out of what is at hand. */
  picture(): Picture {
    const { clock, gpus, engines, relay, gpuHealth } = this.#parts;
    const nowMs = clock.monotonicMs();
    const stats = relay.stats();
    const atMs = clock.wallMs();
    const sample = gpus.latest();
    const gpuMemory = this.#parts.gpuMemoryByEngine?.();
    const hostMemory = this.#parts.hostMemoryByEngine();
    return {
      atMs,
      host: this.#host,
      agent: this.#agent,
      gpus: this.#gpuReadings(sample, (index) => gpuHealth?.(index)),
      engines: engines().map((view) => this.#engineReading(view, stats, nowMs, gpuMemory, hostMemory)),
      models: this.#parts.models?.() ?? [],
      gpuSource: sample.source,
      gpuReason: sample.reason,
      gpuSampleAgeMs: Math.max(0, Math.round(atMs - sample.atMs)),
    };
  }

  #engineReading(
    view: EngineView,
    stats: RelayStats,
    nowMs: number,
    gpuMemory: ReadonlyMap<string, number> | undefined,
    hostMemory: ReadonlyMap<string, number>,
  ): EngineReading {
    const { incarnation, spec } = view.life;
    const { name } = spec;
    const load = this.#parts.loads.newest.get(name);
    const seen = stats.progress[name];
    // What the relay saw of another life says nothing about this one.
    const progress = seen?.incarnation === incarnation ? seen : undefined;
    const silentSinceMs = progress !== undefined && progress.open > 0 ? progress.lastProgressAtMs : undefined;
    return {
      engine: name,
      incarnation,
      relayedRequests: stats.openByEngine[name] ?? 0,
      ...known({
        runningRequests: load?.runningRequests,
        waitingRequests: load?.waitingRequests,
        kvCacheUsageRatio: load?.kvCacheUsageRatio,
        kvCacheTokens: load?.kvCacheTokens,
        generationTokensTotal: load?.generationTokensTotal,
        gpuMemoryBytes: gpuMemory?.get(name),
        hostMemoryBytes: hostMemory.get(name),
        interTokenP50Ms: progress?.interTokenP50Ms,
        silentMs: silentSinceMs === undefined ? undefined : Math.max(0, Math.round(nowMs - silentSinceMs)),
        sleeping: this.#parts.sleeping?.(name),
        ...this.#parts.startMemory?.(name),
      }),
    };
  }
}
