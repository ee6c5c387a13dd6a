/**
 * The agent's one loop: what happens comes in as an event, the pure core says what it means, effects go out through the
 * ports. Everything runs on one thread in the order in which it arrives, so there are no locks; work that takes time
 * (a launch, a probe) comes back as another event.
 */
import type { BackoffPolicy } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { toCodedError } from '../lib/errors.ts';
import type { RandomSource } from '../lib/rng.ts';
import type { DesiredState__Output } from '../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineEvent } from '../proto/gen/fleet/v1/EngineEvent.ts';
import {
  beginLife,
  type EngineEffect,
  type EngineEventIn,
  type EngineLife,
  type LifecycleContext,
  type StepResult,
  step,
} from './core/engine_lifecycle.ts';
import { acceptSpecs, type HostRules } from './core/engine_spec.ts';
import { buildLaunchPlan, type LaunchHost } from './core/launch_plan.ts';
import { judgeOrder, observeTerm, type OrderState, reconcile } from './core/reconcile.ts';
import { differs, toEngineEvent } from './core/report.ts';
import { failureCause, startupProgress } from './core/startup_log.ts';
import type {
  EngineLauncher,
  EngineProbe,
  EngineView,
  LaunchedEngine,
  LaunchPlan,
  Relay,
  SchedulerLinks,
} from './ports.ts';

/** What the loop says to people; the wire gives a logger. */
export interface LoopLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface RunLoopParts {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly launcher: EngineLauncher;
  readonly probe: EngineProbe;
  readonly relay: Relay;
  readonly links: Pick<SchedulerLinks, 'sendEngineEvent' | 'sendDesiredStateAck'>;
  readonly log: LoopLog;
  /** GPUs may appear late, so the rules are asked for at each desired state. */
  readonly rules: () => HostRules;
  readonly host: LaunchHost;
  readonly restartBackoff: BackoffPolicy;
  readonly stableAfterMs: number;
  readonly probePeriodMs: number;
  readonly probeTimeoutMs: number;
  /** Bad answers in a row that end a life. */
  readonly unhealthyAfter: number;
  readonly onRestart?: (engine: string, reason: string) => void;
}

/** What belongs to a running process and not to the pure life. */
interface Runtime {
  life: EngineLife;
  plan?: LaunchPlan;
  launched?: LaunchedEngine;
  cancelTimer?: () => void;
  timerAtMs?: number;
  cancelProbe?: () => void;
  badProbes: number;
  outputByte: number;
  tail: string;
  drainingSinceMs?: number;
}

const OUTPUT_BYTES = 64 * 1024;
/** Requests that were under way to the engine when it began to drain get this long to arrive. */
const DRAIN_SETTLE_MS = 300;

export class RunLoop {
  readonly #parts: RunLoopParts;
  readonly #engines = new Map<string, Runtime>();
  #orders: OrderState = {};
  #stopping = false;
  #idleWaiters: (() => void)[] = [];

  constructor(parts: RunLoopParts) {
    this.#parts = parts;
  }

  get orders(): OrderState {
    return this.#orders;
  }

  engines(): readonly EngineView[] {
    return [...this.#engines.values()].map(({ life, plan }) => ({ life, address: plan?.address }));
  }

  /** A full picture for a hello. */
  picture(): EngineEvent[] {
    return [...this.#engines.values()].map(({ life, plan }) =>
      toEngineEvent(life, this.#parts.clock.wallMs(), plan?.address),
    );
  }

  observeTerm(term: number): void {
    this.#orders = observeTerm(this.#orders, term);
  }

  onDesiredState(scheduler: string, term: number, desired: DesiredState__Output): void {
    if (this.#stopping) return;
    const verdict = judgeOrder(this.#orders, term, desired.generation);
    if (verdict.kind === 'ignore') {
      this.#parts.log.warn({ scheduler, term, code: verdict.code, reason: verdict.reason }, 'desired state ignored');
      return;
    }
    this.#orders = verdict.orders;
    const { accepted, rejections } = acceptSpecs(desired.engines, this.#parts.rules());
    for (const rejection of rejections) this.#parts.log.warn({ ...rejection }, 'engine specification rejected');
    const lives = new Map([...this.#engines].map(([name, { life }]) => [name, life]));
    for (const action of reconcile(accepted, desired.generation, lives)) {
      if (action.kind === 'event') this.#send(action.engine, action.event);
      else {
        const result = beginLife(action.spec, desired.generation, this.#parts.clock.monotonicMs());
        const runtime: Runtime = { life: result.life, badProbes: 0, outputByte: 0, tail: '' };
        this.#engines.set(action.spec.name, runtime);
        this.#apply(runtime, undefined, result);
      }
    }
    this.#parts.links.sendDesiredStateAck(desired.generation, rejections);
  }

  /** Ends all engines; resolves when none is left. */
  stopAll(): Promise<void> {
    this.#stopping = true;
    for (const name of [...this.#engines.keys()]) this.#send(name, { kind: 'unwanted' });
    if (this.#engines.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Kills all engines at once: for an agent that is made to exit without a clean stop. */
  killAll(): void {
    for (const { launched } of this.#engines.values()) launched?.signal('SIGKILL');
  }

  #context(): LifecycleContext {
    const { clock, random, restartBackoff, stableAfterMs } = this.#parts;
    return { nowMs: clock.monotonicMs(), random, restartBackoff, stableAfterMs };
  }

  #send(engine: string, event: EngineEventIn): void {
    const runtime = this.#engines.get(engine);
    if (runtime === undefined) return;
    const before = runtime.life;
    this.#apply(runtime, before, step(before, event, this.#context()));
  }

  #apply(runtime: Runtime, before: EngineLife | undefined, result: StepResult): void {
    runtime.life = result.life;
    const { life } = runtime;
    const { clock, log, links } = this.#parts;
    if (life.timerAtMs !== runtime.timerAtMs) this.#setTimer(runtime);
    for (const effect of result.effects) this.#carryOut(runtime, effect);
    if (differs(before, life)) {
      const { name } = life.spec;
      links.sendEngineEvent(toEngineEvent(life, clock.wallMs(), runtime.plan?.address));
      if (before?.status !== life.status) {
        log.info(
          { engine: name, incarnation: life.incarnation, reason: life.reason, detail: life.message },
          `engine ${life.status}`,
        );
        if (life.status === 'backoff') this.#parts.onRestart?.(name, life.reason);
      }
    }
    if (before?.status !== life.status) this.#onStatus(runtime);
    if (result.effects.some((effect) => effect.kind === 'forget')) this.#settleIdle();
  }

  #setTimer(runtime: Runtime): void {
    runtime.cancelTimer?.();
    delete runtime.cancelTimer;
    delete runtime.timerAtMs;
    const { timerAtMs, spec } = runtime.life;
    if (timerAtMs === undefined) return;
    runtime.timerAtMs = timerAtMs;
    const { clock } = this.#parts;
    // Rounded up: a timer that rings a fraction early would find its time not yet come.
    const delayMs = Math.ceil(Math.max(0, timerAtMs - clock.monotonicMs())) + 1;
    runtime.cancelTimer = clock.after(delayMs, () => this.#send(spec.name, { kind: 'timer' }));
  }

  #carryOut(runtime: Runtime, effect: EngineEffect): void {
    switch (effect.kind) {
      case 'launch':
        void this.#launch(runtime);
        return;
      case 'terminate':
        runtime.launched?.signal('SIGTERM');
        return;
      case 'kill':
        runtime.launched?.signal('SIGKILL');
        return;
      case 'forget':
        runtime.cancelTimer?.();
        runtime.cancelProbe?.();
        this.#engines.delete(runtime.life.spec.name);
    }
  }

  async #launch(runtime: Runtime): Promise<void> {
    const { launcher, host } = this.#parts;
    const { spec } = runtime.life;
    try {
      const incarnation = await launcher.nextIncarnation(spec.name);
      const llamas = [...this.#engines.values()].filter(({ life }) => life.spec.kind === 'llama').length;
      const plan = buildLaunchPlan(spec, incarnation, llamas, host);
      const output = await launcher.readOutput(plan.outputFile, Number.MAX_SAFE_INTEGER, 0);
      const launched = await launcher.launch(plan);
      runtime.plan = plan;
      runtime.launched = launched;
      runtime.badProbes = 0;
      runtime.tail = '';
      runtime.outputByte = output.nextByte;
      this.#send(spec.name, { kind: 'launched', pid: launched.pid, incarnation });
      const exit = await launched.exited;
      if (runtime.launched === launched) delete runtime.launched;
      await this.#readOutput(runtime);
      const cause = failureCause(runtime.tail);
      this.#send(spec.name, { kind: 'exited', ...exit, ...(cause === undefined ? {} : { message: cause }) });
    } catch (error) {
      this.#send(spec.name, { kind: 'launch_failed', message: toCodedError(error).message });
    }
  }

  /** What a change of status means for the relay and for the probes. */
  #onStatus(runtime: Runtime): void {
    const { status } = runtime.life;
    this.#publishTargets();
    runtime.cancelProbe?.();
    delete runtime.cancelProbe;
    if (status === 'draining') runtime.drainingSinceMs = this.#parts.clock.monotonicMs();
    if (status === 'starting' || status === 'ready' || status === 'draining')
      this.#probeLater(runtime, status === 'ready');
  }

  #publishTargets(): void {
    const targets = [];
    for (const { life, plan } of this.#engines.values()) {
      if (plan === undefined || (life.status !== 'ready' && life.status !== 'draining')) continue;
      const most = life.spec.maxConcurrentRequests;
      targets.push({
        engine: life.spec.name,
        incarnation: life.incarnation,
        address: plan.address,
        ...(life.status === 'draining' ? { draining: true } : {}),
        ...(most === undefined ? {} : { maxConcurrentRequests: most }),
      });
    }
    this.#parts.relay.setTargets(targets);
  }

  #probeLater(runtime: Runtime, settled: boolean): void {
    const { clock, probePeriodMs } = this.#parts;
    // A start and a drain are watched closely, a running engine calmly.
    const delayMs = settled ? probePeriodMs : Math.min(100, probePeriodMs);
    runtime.cancelProbe = clock.after(delayMs, () => void this.#probe(runtime));
  }

  async #probe(runtime: Runtime): Promise<void> {
    const { life, plan } = runtime;
    const { name } = life.spec;
    if (plan === undefined) return;
    const incarnation = life.incarnation;
    if (life.status === 'starting') await this.#probeStart(runtime, plan);
    else if (life.status === 'ready') await this.#probeReady(runtime, plan);
    else if (life.status === 'draining') this.#probeDrain(runtime);
    const now = this.#engines.get(name);
    if (now !== runtime || runtime.life.incarnation !== incarnation || runtime.life.status !== life.status) return;
    this.#probeLater(runtime, life.status === 'ready');
  }

  async #probeStart(runtime: Runtime, plan: LaunchPlan): Promise<void> {
    const { probe, probeTimeoutMs } = this.#parts;
    const { incarnation, spec } = runtime.life;
    await this.#readOutput(runtime);
    const progress = startupProgress(runtime.tail);
    if (progress !== undefined) this.#send(spec.name, { kind: 'progress', ...progress });
    if ((await probe.health(plan.address, probeTimeoutMs)) !== 'ok') return;
    const models = await probe.models(plan.address, probeTimeoutMs);
    if (models === undefined || runtime.life.incarnation !== incarnation) return;
    this.#send(spec.name, { kind: 'serving', models });
  }

  async #probeReady(runtime: Runtime, plan: LaunchPlan): Promise<void> {
    const { probe, probeTimeoutMs, unhealthyAfter } = this.#parts;
    const { incarnation, spec } = runtime.life;
    const health = await probe.health(plan.address, probeTimeoutMs);
    if (runtime.life.incarnation !== incarnation) return;
    // A slow answer is a busy engine, not a dead one.
    if (health === 'ok') runtime.badProbes = 0;
    // A process that has ended refuses too; its end is told by the launcher, with the cause.
    else if (health !== 'timeout' && runtime.launched?.ended() !== true) runtime.badProbes += 1;
    if (runtime.badProbes < unhealthyAfter) return;
    const what = health === 'refused' ? 'It refuses connections.' : 'It says that it is unhealthy.';
    this.#send(spec.name, { kind: 'unhealthy', message: what });
  }

  #probeDrain(runtime: Runtime): void {
    const { clock, relay } = this.#parts;
    const since = runtime.drainingSinceMs ?? 0;
    if (clock.monotonicMs() - since < DRAIN_SETTLE_MS) return;
    if ((relay.stats().openByEngine[runtime.life.spec.name] ?? 0) === 0)
      this.#send(runtime.life.spec.name, { kind: 'idle' });
  }

  async #readOutput(runtime: Runtime): Promise<void> {
    if (runtime.plan === undefined) return;
    const { text, nextByte } = await this.#parts.launcher.readOutput(
      runtime.plan.outputFile,
      runtime.outputByte,
      OUTPUT_BYTES,
    );
    runtime.outputByte = nextByte;
    runtime.tail = (runtime.tail + text).slice(-OUTPUT_BYTES);
  }

  #settleIdle(): void {
    if (this.#engines.size > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }
}
