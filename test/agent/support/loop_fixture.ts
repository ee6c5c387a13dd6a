/** A run loop over fakes and a virtual clock: a test says what engines, GPUs and the relay do, and when. */
import type { EngineSpec } from '../../../proto/gen/fleet/v1/EngineSpec.ts';
import type { DesiredState__Output } from '../../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineEvent } from '../../../proto/gen/fleet/v1/EngineEvent.ts';
import type { NodeEvent } from '../../../proto/gen/fleet/v1/NodeEvent.ts';
import { type AgentState, EMPTY_STATE } from '../../../agent/core/agent_state.ts';
import type { PreflightFacts } from '../../../agent/core/preflight.ts';
import type {
  AdoptableEngine,
  EngineExit,
  EngineLoad,
  EngineProgress,
  GenerationVerdict,
  GpuSample,
  LaunchedEngine,
  LaunchPlan,
  ModelFiles,
  RelayStats,
  RelayTarget,
  VerbAnswer,
} from '../../../agent/ports.ts';
import { RunLoop } from '../../../agent/run_loop/run_loop.ts';
import { seededRandom } from '../../../lib/rng.ts';

interface Alarm {
  readonly atMs: number;
  readonly task: () => void;
}

/** A clock that moves only when it is told to, ringing what is due in order. */
export class VirtualClock {
  nowMs = 1000;
  /** The wall clock may jump; nothing inside may care. */
  wallOffsetMs = 1_700_000_000_000;
  readonly #alarms = new Set<Alarm>();

  wallMs(): number {
    return this.nowMs + this.wallOffsetMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const alarm = { atMs: this.nowMs + Math.max(0, delayMs), task };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  get alarms(): number {
    return this.#alarms.size;
  }

  /** Moves the time on; what was started meanwhile gets its turns. */
  async pass(ms: number): Promise<void> {
    const until = this.nowMs + ms;
    await settle();
    for (;;) {
      const next = [...this.#alarms].filter((alarm) => alarm.atMs <= until).toSorted((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#alarms.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.task();
      await settle();
    }
    this.nowMs = until;
  }
}

/** Lets promises that are ready run. */
async function settle(): Promise<void> {
  for (let i = 0; i < 30; i++) await Promise.resolve();
}

export class FakeEngine implements LaunchedEngine {
  readonly plan: LaunchPlan;
  readonly pid: number;
  readonly keeperPid: number;
  readonly startedAtMs = 0;
  readonly died: Promise<EngineExit>;
  readonly exited: Promise<EngineExit>;
  readonly partDied: Promise<void>;
  readonly signals: string[] = [];
  health: 'ok' | 'unhealthy' | 'refused' | 'timeout' = 'ok';
  /** Its socket was taken away: only connections that are there already lead to it. */
  doorIsGone = false;
  /** The connections over which it was asked for its health. */
  readonly healthAsks: ('kept' | 'anew')[] = [];
  generation: GenerationVerdict = { kind: 'ok', ms: 12 };
  load: EngineLoad | undefined;
  output = '';
  isEnded = false;
  /** What SIGTERM does; a wedged engine ignores it. */
  onTerm: () => void = () => this.end({ exitCode: 0 });
  #die: (exit: EngineExit) => void = () => undefined;
  #leave: (exit: EngineExit) => void = () => undefined;
  /** Its core ends; the first process lives on. */
  losePart: () => void = () => undefined;

  constructor(plan: LaunchPlan, pid: number) {
    this.plan = plan;
    this.pid = pid;
    this.keeperPid = pid + 1;
    this.died = new Promise((resolve) => {
      this.#die = resolve;
    });
    this.exited = new Promise((resolve) => {
      this.#leave = resolve;
    });
    this.partDied = new Promise((resolve) => {
      this.losePart = resolve;
    });
  }

  ended(): boolean {
    return this.isEnded;
  }

  signal(name: 'SIGTERM' | 'SIGKILL'): void {
    this.signals.push(name);
    if (name === 'SIGKILL') this.end({ signal: 'SIGKILL' });
    else this.onTerm();
  }

  processes(): Promise<readonly number[]> {
    return Promise.resolve([this.pid, this.pid + 2]);
  }

  /** The first process ends; the rest of the tree stays until `leave`. */
  die(exit: EngineExit): void {
    this.isEnded = true;
    this.health = 'refused';
    this.#die(exit);
  }

  leave(exit: EngineExit): void {
    this.#leave(exit);
  }

  end(exit: EngineExit): void {
    this.die(exit);
    this.leave(exit);
  }
}

export interface Fixture {
  readonly clock: VirtualClock;
  readonly loop: RunLoop;
  readonly engines: FakeEngine[];
  readonly events: EngineEvent[];
  readonly nodeEvents: NodeEvent[];
  readonly acks: { generation: number; rejections: readonly unknown[] }[];
  readonly journal: EngineEvent[];
  readonly saved: AgentState[];
  readonly dumps: string[];
  readonly warnings: string[];
  targets: readonly RelayTarget[];
  stats: RelayStats;
  sample: GpuSample;
  facts: PreflightFacts;
  /** Milliseconds that an engine has waited for a CPU so far. */
  runDelayMs: () => number;
  verb: VerbAnswer;
  verbs: unknown[];
  quarantined: number[];
  launchError: Error | undefined;
  /** The newest engine process. */
  engine(): FakeEngine;
  latest(name: string): EngineEvent | undefined;
  progress(name: string, change: Partial<EngineProgress>): void;
  desire(generation: number, specs: readonly EngineSpec[], term?: number): void;
}

export const SIM_SPEC: EngineSpec = {
  name: 'e1',
  kind: 'ENGINE_KIND_SIM',
  model: 'm',
  servedModelName: 'm',
  limits: { startTimeoutMs: 60_000, drainTimeoutMs: 5000, stopTimeoutMs: 1000, maxRestarts: 3 },
};

export const NO_PROGRESS: EngineProgress = {
  incarnation: 1,
  open: 0,
  waitingFirst: 0,
  waitingBytes: 0,
  stalled: 0,
  faults: 0,
};

const IDLE: RelayStats = {
  openByEngine: {},
  progress: {},
  lanes: 1,
  tokensTotal: 0,
  messagesTotal: 0,
  bytesTotal: 0,
  stallsTotal: 0,
};

const whole = (spec: EngineSpec) => ({
  servedModelName: '',
  gpuIds: [],
  extraFlags: [],
  environment: {},
  limits: null,
  ...spec,
});

export interface FixtureOptions {
  readonly state?: AgentState;
  readonly adoptable?: readonly AdoptableEngine[];
  readonly gpus?: readonly number[];
  readonly models?: ModelFiles;
}

function createParts(fixture: Fixture, options: FixtureOptions): ConstructorParameters<typeof RunLoop>[0] {
  const find = (address: LaunchPlan['address']): FakeEngine | undefined =>
    fixture.engines.findLast((one) => JSON.stringify(one.plan.address) === JSON.stringify(address));
  let incarnation = 0;
  return {
    clock: fixture.clock,
    random: seededRandom(1),
    launcher: {
      launch(plan) {
        if (fixture.launchError !== undefined) return Promise.reject(fixture.launchError);
        const engine = new FakeEngine(plan, 100 + 10 * fixture.engines.length);
        fixture.engines.push(engine);
        return Promise.resolve(engine);
      },
      nextIncarnation: () => Promise.resolve((incarnation += 1)),
      readOutput: (file, fromByte) => {
        const text = fixture.engines.findLast((one) => one.plan.outputFile === file)?.output ?? '';
        const from = Math.min(fromByte, text.length);
        return Promise.resolve({ text: text.slice(from), nextByte: text.length });
      },
      adoptable: () => Promise.resolve(options.adoptable ?? []),
    },
    probe: {
      health(address, _timeoutMs, connection = 'anew') {
        const engine = find(address);
        engine?.healthAsks.push(connection);
        const isOut = engine === undefined || (engine.doorIsGone && connection === 'anew');
        return Promise.resolve(isOut ? 'refused' : engine.health);
      },
      models: () => Promise.resolve([{ id: 'm', simulated: true }]),
      load: (address) => Promise.resolve(find(address)?.load),
      generateOne: (address) => Promise.resolve(find(address)?.generation ?? { kind: 'failed', message: 'none' }),
      verb: (_address, verb) => {
        fixture.verbs.push(verb);
        return Promise.resolve(fixture.verb);
      },
    },
    relay: {
      setTargets: (targets) => {
        fixture.targets = targets;
      },
      stats: () => fixture.stats,
    },
    links: {
      sendEngineEvent: (event) => void fixture.events.push(event),
      sendDesiredStateAck: (generation, rejections) => void fixture.acks.push({ generation, rejections }),
      sendNodeEvent: (event) => void fixture.nodeEvents.push(event),
    },
    gpus: { latest: () => fixture.sample, readProcessesSoon: () => undefined },
    inspector: {
      preflight: () => Promise.resolve(fixture.facts),
      runDelaysMs: ([pid = 0]) => Promise.resolve(new Map([[pid, fixture.runDelayMs()]])),
      oomKills: () => Promise.resolve(0),
      confinedPath: (path) => Promise.resolve(path.includes('evil') ? undefined : path),
    },
    journal: {
      append: (entry) => void fixture.journal.push(entry),
      read: (engine) => Promise.resolve(fixture.journal.filter((entry) => entry.engine === engine)),
      degraded: () => undefined,
      flush: () => Promise.resolve(),
    },
    store: {
      load: () => Promise.resolve(options.state ?? EMPTY_STATE),
      save: (state) => void fixture.saved.push(state),
      degraded: () => undefined,
      flush: () => Promise.resolve(),
    },
    dumper: {
      dump: ({ why }) => {
        fixture.dumps.push(why);
        return Promise.resolve('/data/engines/e1/dumps/1.txt');
      },
    },
    log: { info: () => undefined, warn: (_fields, message) => void fixture.warnings.push(message) },
    rules: () => ({
      gpuIndexes: options.gpus ?? [],
      modelRoots: [],
      socketRoots: ['/data'],
      allowedExtraFlags: [],
      maxEngines: 8,
      defaultLimits: { startTimeoutMs: 60_000, drainTimeoutMs: 5000, stopTimeoutMs: 1000, maxRestarts: 3 },
    }),
    host: {
      vllmCommand: 'vllm',
      nodeCommand: 'node',
      engineProgramFolder: '/app/engines',
      dataFolder: '/data',
      shortSocketFolder: '/tmp/s',
      cpuCores: 2,
      environment: {},
    },
    times: {
      restartBackoff: { baseMs: 100, capMs: 1000, minMs: 100 },
      restartWindowMs: 3_600_000,
      hostBrake: { burst: 4, periodMs: 10_000 },
      stableAfterMs: 600_000,
      probePeriodMs: 1000,
      probeTimeoutMs: 1000,
      warmTimeoutMs: 10_000,
      watchPeriodMs: 250,
      gpuReleaseTimeoutMs: 3000,
    },
    unhealthyAfter: 3,
    ...(options.models === undefined ? {} : { models: options.models }),
    quarantinedGpus: () => fixture.quarantined,
  };
}

export function createFixture(options: FixtureOptions = {}): Fixture {
  const fixture = {
    clock: new VirtualClock(),
    engines: [],
    events: [],
    nodeEvents: [],
    acks: [],
    journal: [],
    saved: [],
    dumps: [],
    warnings: [],
    targets: [],
    stats: IDLE,
    sample: { source: 'none', atMs: 0, gpus: [] },
    facts: { address: 'free', program: 'found', model: { kind: 'hub' } },
    runDelayMs: () => 0,
    verb: { kind: 'done' },
    verbs: [],
    quarantined: [],
    launchError: undefined,
    engine: () => fixture.engines.at(-1) as FakeEngine,
    latest: (name: string) => fixture.events.findLast((event) => event.engine === name),
    progress(name: string, change: Partial<EngineProgress>) {
      const next = { ...NO_PROGRESS, ...fixture.stats.progress[name], ...change };
      fixture.stats = {
        ...fixture.stats,
        openByEngine: { ...fixture.stats.openByEngine, [name]: next.open },
        progress: { ...fixture.stats.progress, [name]: next },
      };
    },
    desire(generation: number, specs: readonly EngineSpec[], term = 1) {
      const desired = { generation, engines: specs.map(whole) } as unknown as DesiredState__Output;
      fixture.loop.onDesiredState('s', term, desired);
    },
  } as unknown as Fixture & { loop: RunLoop };
  fixture.loop = new RunLoop(createParts(fixture, options));
  return fixture;
}

/** A fixture whose engine e1 serves. */
export async function serving(options: FixtureOptions = {}, spec = SIM_SPEC): Promise<Fixture> {
  const fixture = createFixture(options);
  await fixture.loop.restore();
  fixture.desire(1, [spec]);
  await fixture.clock.pass(500);
  return fixture;
}
