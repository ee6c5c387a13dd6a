/**
 * The agent's one loop: what happens comes in as an event, the pure core says what it means, effects go out through the
 * ports. Everything runs on one thread in order, so there are no locks; work that takes time comes back as another event.
 */
import { untilNextBeatMs } from '../../lib/clock.ts';
import type { DesiredState__Output } from '../../proto/gen/fleet/v1/DesiredState.ts';
import type { EngineEvent } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import type { EngineSpec__Output } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import type { NodeEvent } from '../../proto/gen/fleet/v1/NodeEvent.ts';
import { specFromPlan, withKey } from '../core/adoption.ts';
import { type AgentState, EMPTY_STATE, holdOf, withHold, withoutHold, withServed } from '../core/agent_state.ts';
import { type AcceptedSpec, acceptSpecs } from '../core/engine_spec.ts';
import { adoptLife, beginLife } from '../core/lifecycle/change.ts';
import type {
  EngineEffect,
  EngineEventIn,
  EngineLife,
  Hold,
  LifecycleContext,
  StepResult,
} from '../core/lifecycle/life.ts';
import { step } from '../core/lifecycle/step.ts';
import { judgeOrder, observeTerm, type OrderState, reconcile } from '../core/reconcile.ts';
import { differs, isTransition, toEngineEvent } from '../core/report.ts';
import { brakeDelayMs, fullBrake, type HostBrake, takeRestart } from '../core/restart_brake.ts';
import { type PastStart, recordStart } from '../core/start_estimate.ts';
import type { AdoptableEngine, EngineView } from '../ports.ts';
import { dumpAndKill, followEngine } from './ender.ts';
import { carryOutGpuOrder, type GpuOrder } from './gpu_orders.ts';
import { freshRuntime, type LoopCore, type RunLoopParts, type Runtime } from './parts.ts';
import { nodeEventOf, relayTargets } from './told.ts';
import { wantModels } from './model_wait.ts';
import { launchEngine, probeAdopted, probeStart, runPreflight, warmEngine } from './starter.ts';
import { drainView, probeDelayMs, probeReady, tickAll } from './watcher.ts';

export class RunLoop implements LoopCore {
  readonly parts: RunLoopParts;
  readonly #engines = new Map<string, Runtime>();
  #state: AgentState = EMPTY_STATE;
  #brake: HostBrake;
  #stopping = false;
  #closed = false;
  #cancelWatch: (() => void) | undefined;
  #idleWaiters: (() => void)[] = [];

  constructor(parts: RunLoopParts) {
    this.parts = parts;
    this.#brake = fullBrake(parts.times.hostBrake, parts.clock.monotonicMs());
  }

  get orders(): OrderState {
    return this.#state.orders;
  }

  get closed(): boolean {
    return this.#closed;
  }

  runtimes(): Iterable<Runtime> {
    return this.#engines.values();
  }

  runtimeOf(engine: string): Runtime | undefined {
    return this.#engines.get(engine);
  }

  engines(): readonly EngineView[] {
    return [...this.#engines.values()].map(({ life, plan }) => ({ life, address: plan?.address }));
  }

  /** A full picture for a hello. */
  picture(): EngineEvent[] {
    return [...this.#engines.values()].map((runtime) => this.#eventOf(runtime));
  }

  /** Present while the node drains or is drained. */
  nodeEvent(): NodeEvent | undefined {
    return this.#state.nodeHold === undefined ? undefined : nodeEventOf(this, this.#state.nodeHold);
  }

  /**
   * Takes up what an earlier agent left: its orders, its drains, and the engines that still run. Engines that no order
   * names go on until a scheduler says something else.
   *
   * @param sweep ends what an earlier agent left and what could not be taken over, before anything is started
   */
  async restore(sweep: (adopted: ReadonlySet<string>) => Promise<void> = () => Promise.resolve()): Promise<void> {
    this.#state = await this.parts.store.load();
    const { desired, orders } = this.#state;
    const { accepted, kept } = this.#accept(desired ?? []);
    for (const found of await this.parts.launcher.adoptable()) this.#adopt(found, accepted);
    await sweep(new Set(this.#engines.keys()));
    if (desired !== undefined) this.#reconcile(accepted, orders.generation ?? 0, kept);
    this.#watchLater();
  }

  observeTerm(term: number): void {
    this.#state = { ...this.#state, orders: observeTerm(this.#state.orders, term) };
  }

  onDesiredState(scheduler: string, term: number, desired: DesiredState__Output): void {
    if (this.#stopping) return;
    const verdict = judgeOrder(this.orders, term, desired.generation);
    if (verdict.kind === 'ignore') {
      this.parts.log.warn({ scheduler, term, code: verdict.code, reason: verdict.reason }, 'desired state ignored');
      return;
    }
    this.#save({ ...this.#state, orders: verdict.orders, desired: desired.engines });
    const { accepted, kept, rejections } = this.#accept(desired.engines);
    for (const rejection of rejections) this.parts.log.warn({ ...rejection }, 'engine specification rejected');
    this.#reconcile(accepted, desired.generation, kept);
    this.parts.links.sendDesiredStateAck(desired.generation, rejections);
  }

  /** Judges the newest orders again: the host's GPUs have changed. */
  refresh(): void {
    const { desired, orders } = this.#state;
    if (this.#stopping || desired === undefined) return;
    const { accepted, kept } = this.#accept(desired);
    this.#reconcile(accepted, orders.generation ?? 0, kept);
  }

  #accept(specs: readonly EngineSpec__Output[]) {
    const { accepted, rejections } = acceptSpecs(specs, this.parts.rules());
    return { accepted, rejections, kept: new Set(rejections.map(({ engine }) => engine)) };
  }

  #reconcile(accepted: readonly AcceptedSpec[], generation: number, kept: ReadonlySet<string>): void {
    const lives = new Map([...this.#engines].map(([name, { life }]) => [name, life]));
    for (const action of reconcile(accepted, generation, lives, kept)) {
      if (action.kind === 'event') this.send(action.engine, action.event);
      else this.#begin(freshRuntime(beginLife(action.spec, generation, this.parts.clock.monotonicMs())));
    }
    wantModels(this);
  }

  #begin(runtime: Runtime): void {
    const { name, gpuIds } = runtime.life.spec;
    this.#engines.set(name, runtime);
    this.#apply(runtime, undefined, { life: runtime.life, effects: [] });
    const hold = holdOf(this.#state, name);
    if (hold !== undefined) this.send(name, { kind: 'hold', hold });
    const bad = (this.parts.quarantinedGpus?.() ?? []).find((gpu) => gpuIds.includes(gpu));
    if (bad !== undefined) this.send(name, { kind: 'quarantine', message: `GPU ${bad} is quarantined.` });
  }

  #adopt(found: AdoptableEngine, accepted: readonly AcceptedSpec[]): void {
    const { engine, launched, incarnation, specHash } = found;
    const plan = withKey(found.plan);
    if (this.#engines.has(engine)) return;
    const spec = accepted.find((one) => one.name === engine) ?? specFromPlan(plan, this.parts.rules().defaultLimits);
    const running = { pid: launched.pid, incarnation, hash: specHash };
    const life = adoptLife(spec, this.orders.generation ?? 0, running, this.parts.clock.monotonicMs());
    const runtime: Runtime = { ...freshRuntime(life), plan, launched };
    runtime.pids.add(launched.pid);
    // It may have taken requests for an earlier agent.
    runtime.served = true;
    runtime.hasAnswered = this.#state.served?.[engine] === incarnation;
    this.#begin(runtime);
    void followEngine(this, runtime, plan, launched);
  }

  /** Ends all engines; resolves when none is left. */
  stopAll(): Promise<void> {
    this.#stopping = true;
    for (const name of [...this.#engines.keys()]) this.send(name, { kind: 'unwanted' });
    if (this.#engines.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Lets go of all engines: they live on, for the next agent. Resolves when everything is on disk. */
  async detach(): Promise<void> {
    this.#stopping = true;
    this.#closed = true;
    this.#cancelWatch?.();
    for (const runtime of this.#engines.values()) {
      runtime.cancelTimer?.();
      runtime.cancelProbe?.();
    }
    await Promise.all([this.parts.store.flush(), this.parts.journal.flush()]);
  }

  /** Kills all engines at once: for an agent that is made to exit without a clean stop. */
  killAll(): void {
    for (const { launched } of this.#engines.values()) launched?.signal('SIGKILL');
  }

  /** Drains an engine, or the node when `engine` is absent, on a person's order; kept over restarts of the agent. */
  hold(hold: Hold, engine?: string): void {
    if (engine === undefined) this.#save({ ...this.#state, nodeHold: hold });
    else this.#save(withHold(this.#state, engine, hold));
    for (const name of engine === undefined ? [...this.#engines.keys()] : [engine]) {
      // Who drained an engine by name first stays named.
      if (this.#engines.get(name)?.life.hold === undefined) this.send(name, { kind: 'hold', hold });
    }
    if (engine === undefined) this.parts.links.sendNodeEvent(nodeEventOf(this, this.#state.nodeHold));
  }

  /** Cancels a drain. Engines that were drained by name stay drained when the node is released. */
  unhold(actor: string, engine?: string): void {
    if (engine === undefined) {
      const { nodeHold: _released, ...rest } = this.#state;
      this.#save(rest);
    } else this.#save(withoutHold(this.#state, engine));
    for (const name of engine === undefined ? [...this.#engines.keys()] : [engine]) {
      if (holdOf(this.#state, name) === undefined) this.send(name, { kind: 'unhold', actor });
    }
    if (engine === undefined) this.parts.links.sendNodeEvent(nodeEventOf(this, this.#state.nodeHold));
  }

  holdOf(engine?: string): Hold | undefined {
    return engine === undefined ? this.#state.nodeHold : this.#state.holds[engine];
  }

  onGpuOrder(order: GpuOrder): void {
    carryOutGpuOrder(this, order);
  }

  note(runtime: Runtime, reason: string, message: string): void {
    this.parts.log.warn({ engine: runtime.life.spec.name, reason }, message);
    this.parts.journal.append({ ...this.#eventOf(runtime), reason, message });
  }

  tell(runtime: Runtime): void {
    this.parts.links.sendEngineEvent(this.#eventOf(runtime));
    if (this.#state.nodeHold !== undefined) this.parts.links.sendNodeEvent(nodeEventOf(this, this.#state.nodeHold));
  }

  pastStarts(key: string): readonly PastStart[] {
    return this.#state.starts[key] ?? [];
  }

  recordStart(key: string, start: PastStart): void {
    this.#save({ ...this.#state, starts: recordStart(this.#state.starts, key, start) });
  }

  #save(state: AgentState): void {
    this.#state = state;
    this.parts.store.save(state);
  }

  #eventOf(runtime: Runtime): EngineEvent {
    return toEngineEvent(runtime.life, this.parts.clock.wallMs(), runtime.plan?.address, drainView(this, runtime));
  }

  #context(): LifecycleContext {
    const { clock, random, times } = this.parts;
    const nowMs = clock.monotonicMs();
    const { restartBackoff, restartWindowMs, stableAfterMs } = times;
    const hostRestartDelayMs = brakeDelayMs(this.#brake, times.hostBrake, nowMs);
    return { nowMs, random, restartBackoff, restartWindowMs, stableAfterMs, hostRestartDelayMs };
  }

  send(engine: string, event: EngineEventIn): void {
    const runtime = this.#engines.get(engine);
    if (runtime === undefined || this.#closed) return;
    const before = runtime.life;
    this.#apply(runtime, before, step(before, event, this.#context()));
  }

  #apply(runtime: Runtime, before: EngineLife | undefined, result: StepResult): void {
    runtime.life = result.life;
    const { life } = runtime;
    if (life.timerAtMs !== runtime.timerAtMs) this.#setTimer(runtime);
    if (before?.status !== life.status || before.sleeping !== life.sleeping) this.#onStatus(runtime);
    if (differs(before, life)) this.#publish(runtime, before);
    for (const effect of result.effects) this.#carryOut(runtime, effect);
  }

  #publish(runtime: Runtime, before: EngineLife | undefined): void {
    const { life } = runtime;
    const { log, links, journal, onRestart } = this.parts;
    const event = this.#eventOf(runtime);
    links.sendEngineEvent(event);
    if (isTransition(before, life)) journal.append(event);
    if (before?.status === life.status) return;
    const { incarnation, reason, cause, message: detail, spec } = life;
    const { name } = spec;
    log.info({ engine: name, incarnation, reason, cause, detail }, `engine ${life.status}`);
    if (life.status === 'backoff') onRestart?.(name, reason);
  }

  #setTimer(runtime: Runtime): void {
    runtime.cancelTimer?.();
    delete runtime.cancelTimer;
    delete runtime.timerAtMs;
    const { timerAtMs, spec } = runtime.life;
    if (timerAtMs === undefined) return;
    runtime.timerAtMs = timerAtMs;
    const { clock } = this.parts;
    // Rounded up: a timer that rings a fraction early would find its time not yet come.
    const delayMs = Math.ceil(Math.max(0, timerAtMs - clock.monotonicMs())) + 1;
    runtime.cancelTimer = clock.after(delayMs, () => {
      delete runtime.timerAtMs;
      this.send(spec.name, { kind: 'timer' });
      // A clock that rang early (it was set back, or the delay was too long for it) is set again.
      if (runtime.life.timerAtMs !== runtime.timerAtMs && !this.#closed) this.#setTimer(runtime);
    });
  }

  #carryOut(runtime: Runtime, effect: EngineEffect): void {
    switch (effect.kind) {
      case 'preflight':
        void this.#preflight(runtime, effect.attempt);
        return;
      case 'launch':
        void launchEngine(this, runtime, (...of) => void followEngine(this, ...of));
        return;
      case 'terminate':
        runtime.launched?.signal('SIGTERM');
        return;
      case 'kill':
        runtime.launched?.signal('SIGKILL');
        return;
      case 'dump_and_kill':
        void dumpAndKill(this, runtime);
        return;
      case 'count_restart':
        this.#brake = takeRestart(this.#brake, this.parts.times.hostBrake, this.parts.clock.monotonicMs());
        return;
      case 'forget':
        this.#forget(runtime);
    }
  }

  async #preflight(runtime: Runtime, attempt: number): Promise<void> {
    try {
      await runPreflight(this, runtime, attempt);
    } catch (error) {
      // Its timer rings: a host that cannot be checked is tried again later.
      this.parts.log.warn({ engine: runtime.life.spec.name, err: error }, 'the host could not be checked');
    }
  }

  #forget(runtime: Runtime): void {
    runtime.cancelTimer?.();
    runtime.cancelProbe?.();
    this.#engines.delete(runtime.life.spec.name);
    // A forgotten engine keeps no drain: one of the same name that is wanted later is another wish.
    if (!this.#stopping && this.#state.holds[runtime.life.spec.name] !== undefined)
      this.#save(withoutHold(this.#state, runtime.life.spec.name));
    if (!this.#stopping) wantModels(this);
    if (this.#engines.size > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  /** What a change of status means for the relay and for the probes. */
  #onStatus(runtime: Runtime): void {
    const { status } = runtime.life;
    this.parts.relay.setTargets(relayTargets(this.#engines.values()));
    runtime.cancelProbe?.();
    delete runtime.cancelProbe;
    if (status !== 'draining') delete runtime.drain;
    if (status === 'ready') this.#noteServing(runtime);
    if (status === 'adopted') this.#probeAfter(runtime, 0);
    else if (status === 'ready' || status === 'starting' || status === 'warming')
      this.#probeAfter(runtime, probeDelayMs(this.parts, status));
  }

  #noteServing(runtime: Runtime): void {
    runtime.served = true;
    const { spec, incarnation } = runtime.life;
    const state = withServed(this.#state, spec.name, incarnation);
    if (state !== this.#state) this.#save(state);
  }

  #probeAfter(runtime: Runtime, delayMs: number): void {
    runtime.cancelProbe = this.parts.clock.after(delayMs, () => void this.#probe(runtime));
  }

  async #probe(runtime: Runtime): Promise<void> {
    const { life, plan } = runtime;
    if (this.#closed) return;
    try {
      if (plan !== undefined && life.pid !== undefined) {
        if (life.status === 'starting') await probeStart(this, runtime, plan);
        else if (life.status === 'warming') await warmEngine(this, runtime, plan);
        else if (life.status === 'adopted') await probeAdopted(this, runtime, plan);
        else if (life.status === 'ready' && !life.sleeping) await probeReady(this, runtime, plan);
      }
    } catch (error) {
      this.parts.log.warn({ engine: life.spec.name, err: error }, 'an engine could not be asked');
    }
    const isCurrent = this.#engines.get(life.spec.name) === runtime && runtime.life.status === life.status;
    // A warmed engine changes its status; when it did not, its timer ends it.
    if (!isCurrent || this.#closed || life.status === 'warming') return;
    runtime.cancelProbe?.();
    this.#probeAfter(runtime, probeDelayMs(this.parts, life.status));
  }

  #watchLater(): void {
    if (this.#closed) return;
    const { clock, times } = this.parts;
    this.#cancelWatch = clock.after(untilNextBeatMs(clock.monotonicMs(), times.watchPeriodMs), () => {
      tickAll(this);
      this.#watchLater();
    });
  }
}
