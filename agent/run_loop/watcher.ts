/** Looks after engines that serve: their health, their progress, their faults, and their drains. */
import { untilNextBeatMs } from '../../lib/clock.ts';
import { isHeadless } from '../core/gang.ts';
import { beginDrain, drainEtaMs } from '../core/drain_estimate.ts';
import type { DrainView } from '../core/report.ts';
import type { EngineStatus } from '../core/lifecycle/table.ts';
import {
  beginWatch,
  countFaults,
  tickWatch,
  WATCHDOG,
  type WatchdogPolicy,
  withRunDelays,
  withWitness,
} from '../core/watchdog.ts';
import type { LaunchPlan, RelayStats } from '../ports.ts';
import type { LoopCore, RunLoopParts, Runtime } from './parts.ts';

/** Requests that were under way to the engine when it began to drain get this long to arrive. */
const DRAIN_SETTLE_MS = 300;
const DRAIN_TELL_MS = 1000;
/** Questions for a first reading of an engine's counters; one that has none is not asked for ever. */
const MOST_FIRST_ASKS = 8;

/** Each n-th question for its health knocks at the engine's door; the others go over the connection that is there. */
const KNOCK_EVERY = 3;

/** How often an engine is asked that is not ready yet, at most. */
const CLOSE_PROBE_MS = 100;

/** Until the next question for an engine's health; the engines that serve are all asked at the same beat. */
export function probeDelayMs({ clock, times }: Pick<RunLoopParts, 'clock' | 'times'>, status: EngineStatus): number {
  const { probePeriodMs } = times;
  return status === 'ready'
    ? untilNextBeatMs(clock.monotonicMs(), probePeriodMs)
    : Math.min(CLOSE_PROBE_MS, probePeriodMs);
}

/** Whose memory on a GPU is this engine's. */
async function notePids({ life, launched, pids }: Runtime): Promise<void> {
  if (life.spec.gpuIds.length > 0) for (const pid of (await launched?.processes()) ?? []) pids.add(pid);
}

/** One question for the health of a running engine; a member without a door has only its process. */
export async function probeReady(core: LoopCore, runtime: Runtime, plan: LaunchPlan): Promise<void> {
  const { probe, relay, times, unhealthyAfter } = core.parts;
  const { incarnation, spec } = runtime.life;
  if (isHeadless(plan.args)) {
    await notePids(runtime);
    return;
  }
  runtime.healthAsks += 1;
  // Most of what an idle agent costs are connections to its engines. A door that once did not open is tried each time.
  const knocks = runtime.badProbes > 0 || runtime.healthAsks % KNOCK_EVERY === 0;
  const health = await probe.health(plan.address, times.probeTimeoutMs, knocks ? 'anew' : 'kept');
  if (runtime.life.incarnation !== incarnation) return;
  // A slow answer is a busy engine, not a dead one. One with nothing to do has no excuse, and of one that has not told its
  // counters once in this life the watchdog cannot judge.
  const hasWork = (relay.stats().openByEngine[spec.name] ?? 0) > 0;
  const isBusy = health === 'timeout' && hasWork && runtime.watch?.witness !== undefined;
  if (health === 'ok') runtime.badProbes = 0;
  // A process that has ended refuses too; its end is told by the launcher, with the cause.
  else if (!isBusy && runtime.launched?.ended() !== true) runtime.badProbes += 1;
  await notePids(runtime);
  if (runtime.badProbes < unhealthyAfter) return;
  if (health === 'timeout') {
    const message = `It took ${runtime.badProbes} connections and answered none of them.`;
    core.send(spec.name, { kind: 'wedged', message });
    return;
  }
  const what = health === 'refused' ? 'It refuses connections.' : 'It says that it is unhealthy.';
  core.send(spec.name, { kind: 'unhealthy', message: what });
}

/** Reads the engine's own counters, the second witness of its progress. One question at a time. */
async function askWitness(core: LoopCore, runtime: Runtime, plan: LaunchPlan): Promise<void> {
  const { clock, probe, times } = core.parts;
  const { incarnation } = runtime.life;
  runtime.askingSinceMs = clock.monotonicMs();
  runtime.witnessAsks += 1;
  const load = await probe.load(plan.address, times.probeTimeoutMs);
  if (runtime.life.incarnation !== incarnation) return;
  delete runtime.askingSinceMs;
  const progressAtMs = core.parts.relay.stats().progress[runtime.life.spec.name]?.lastProgressAtMs;
  if (runtime.watch !== undefined) runtime.watch = withWitness(runtime.watch, load, clock.monotonicMs(), progressAtMs);
}

/** Looks whether the host keeps the engine from running. It is asked beside the engine, which may be too starved to answer. */
async function askHost(core: LoopCore, runtime: Runtime): Promise<void> {
  const { incarnation } = runtime.life;
  runtime.askingHost = true;
  const delaysMs = await core.parts.inspector.runDelaysMs((await runtime.launched?.processes()) ?? []);
  if (runtime.life.incarnation !== incarnation) return;
  runtime.askingHost = false;
  if (runtime.watch !== undefined) runtime.watch = withRunDelays(runtime.watch, delaysMs);
}

/** Several faults in a short time: then /health is believed at the first bad answer. */
async function suspect(core: LoopCore, runtime: Runtime, plan: LaunchPlan): Promise<void> {
  const { incarnation, spec } = runtime.life;
  const health = await core.parts.probe.health(plan.address, core.parts.times.probeTimeoutMs);
  if (runtime.life.incarnation !== incarnation || health === 'ok' || health === 'timeout') return;
  core.send(spec.name, { kind: 'unhealthy', message: 'It broke several requests, and its health is bad.' });
}

function tickFaults(core: LoopCore, runtime: Runtime, plan: LaunchPlan, total: number): void {
  const { record, fresh, suspicious } = countFaults(runtime.faults, total, core.parts.clock.monotonicMs());
  runtime.faults = record;
  if (fresh === 0) return;
  core.note(runtime, 'fault', `The engine broke ${fresh} request${fresh === 1 ? '' : 's'} without being asked.`);
  if (suspicious) void suspect(core, runtime, plan);
}

/** What is known of an engine's drain. */
export function drainView(core: LoopCore, runtime: Runtime): DrainView | undefined {
  const { drain, life } = runtime;
  if (drain === undefined || life.status !== 'draining') return undefined;
  const running = core.parts.relay.stats().openByEngine[life.spec.name] ?? 0;
  const etaMs = drainEtaMs(drain, running, core.parts.clock.monotonicMs(), life.spec.limits.drainTimeoutMs);
  return { runningRequests: running, ...(etaMs === undefined ? {} : { etaMs }) };
}

function tickDrain(core: LoopCore, runtime: Runtime, running: number): void {
  const nowMs = core.parts.clock.monotonicMs();
  const drain = (runtime.drain ??= beginDrain(nowMs, running));
  if (running > drain.most) runtime.drain = { ...drain, most: running };
  if (nowMs - drain.sinceMs < DRAIN_SETTLE_MS) return;
  if (running === 0) {
    core.send(runtime.life.spec.name, { kind: 'idle' });
    return;
  }
  if (drain.toldRunning === running || nowMs - (drain.toldAtMs ?? 0) < DRAIN_TELL_MS) return;
  runtime.drain = { ...runtime.drain, toldRunning: running, toldAtMs: nowMs };
  core.tell(runtime);
}

function tickProgress(
  core: LoopCore,
  runtime: Runtime,
  plan: LaunchPlan,
  stats: RelayStats,
  policy: WatchdogPolicy,
): void {
  const { life } = runtime;
  const nowMs = core.parts.clock.monotonicMs();
  const progress = stats.progress[life.spec.name];
  const watch = runtime.watch ?? beginWatch(life.incarnation, nowMs);
  const asking = runtime.askingSinceMs === undefined ? {} : { askingSinceMs: runtime.askingSinceMs };
  const result = tickWatch(watch, { nowMs, progress, ...asking }, policy);
  runtime.watch = result.watch;
  // A first reading is taken while all is well: without it nobody could tell whether the counters have moved since.
  const needsFirst = result.watch.witness === undefined && runtime.witnessAsks < MOST_FIRST_ASKS;
  if ((result.verdict.kind === 'ask' || needsFirst) && runtime.askingSinceMs === undefined)
    void askWitness(core, runtime, plan);
  if (result.verdict.kind === 'ask' && runtime.askingHost !== true) void askHost(core, runtime);
  if (result.verdict.kind === 'wedged') core.send(life.spec.name, { kind: 'wedged', message: result.verdict.message });
}

/** One look of the watchdog at all engines. */
export function tickAll(core: LoopCore, policy: WatchdogPolicy = WATCHDOG): void {
  const stats = core.parts.relay.stats();
  for (const runtime of [...core.runtimes()]) {
    const { life, plan } = runtime;
    if (plan === undefined || (life.status !== 'ready' && life.status !== 'draining')) continue;
    const progress = stats.progress[life.spec.name];
    if (progress?.incarnation === life.incarnation) tickFaults(core, runtime, plan, progress.faults);
    if (life.status === 'draining') tickDrain(core, runtime, stats.openByEngine[life.spec.name] ?? 0);
    if (isHeadless(plan.args)) continue;
    if (!life.sleeping && (runtime.life.status === 'ready' || runtime.life.status === 'draining'))
      tickProgress(core, runtime, plan, stats, policy);
  }
}
