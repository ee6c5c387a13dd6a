/** Brings an engine from the look at the host to its first real token. */
import { CodedError } from '../../lib/errors.ts';
import { type Diagnosis, rowDiagnosis, seenDiagnosis } from '../core/crash_classifier.ts';
import { isHeadless } from '../core/gang.ts';
import { buildLaunchPlan, chooseAddress } from '../core/launch_plan.ts';
import type { EngineLife } from '../core/lifecycle/life.ts';
import { WITH_PROCESS } from '../core/lifecycle/table.ts';
import { judgePreflight } from '../core/preflight.ts';
import { addressText } from '../core/report.ts';
import { estimateStart } from '../core/start_estimate.ts';
import { startMemory, startupProgress } from '../core/startup_log.ts';
import type { LaunchedEngine, LaunchPlan } from '../ports.ts';
import { awaitModel, withLocalModel } from './model_wait.ts';
import { type LoopCore, pause, readOutput, resetRuntime, type Runtime, systemCode } from './parts.ts';

const KEY_BYTES = 24;
const WARM_TRIES = 3;
const WARM_PAUSE_MS = 1000;

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Starts of the same engine with the same flags on the same model take about as long. */
export const startKey = (life: EngineLife): string => `${life.spec.name}:${life.runningHash ?? life.spec.hash}`;

const programOf = (core: LoopCore, life: EngineLife): string =>
  life.spec.kind === 'vllm' ? core.parts.host.vllmCommand : core.parts.host.nodeCommand;

/** The checks before a start; the first is that the files of the model are there, however long that takes. */
export async function runPreflight(core: LoopCore, runtime: Runtime, attempt: number): Promise<void> {
  const { inspector, gpus, host, rules } = core.parts;
  if (!(await awaitModel(core, runtime, attempt))) return;
  const { addressTries } = runtime.life;
  const spec = withLocalModel(core, runtime.life.spec);
  const address = chooseAddress(spec, host, { tries: addressTries, apiKey: '' });
  const facts = await inspector.preflight({
    address,
    program: programOf(core, runtime.life),
    model: spec.model,
    mayBeHub: spec.kind === 'vllm',
    modelRoots: rules().modelRoots,
    cacheFolder: host.dataFolder,
  });
  const others = [...core.runtimes()]
    .filter((other) => other !== runtime && WITH_PROCESS.has(other.life.status))
    .map(({ life, plan }) => ({
      name: life.spec.name,
      gpuIds: life.spec.gpuIds,
      ...(life.spec.gpuMemoryShare === undefined ? {} : { gpuMemoryShare: life.spec.gpuMemoryShare }),
      ...(plan === undefined ? {} : { address: addressText(plan.address) }),
    }));
  const outcome = judgePreflight({
    spec,
    // A simulated engine has no weights; its model is only a name.
    facts: spec.kind === 'sim' ? { ...facts, model: { kind: 'hub' } } : facts,
    sample: gpus.latest(),
    others,
    addressText: addressText(address),
    quarantinedGpus: core.parts.quarantinedGpus?.() ?? [],
  });
  core.send(spec.name, { kind: 'checked', attempt, outcome });
}

/** Why a launch failed, for a person and for the retry. */
function launchTrouble(error: unknown): { readonly message: string; readonly diagnosis: Diagnosis } {
  if (error instanceof CodedError) return { message: error.message, diagnosis: seenDiagnosis('program') };
  const code = systemCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return { message: 'The engine cannot be launched: the disk is full.', diagnosis: rowDiagnosis('disk_full') };
  const why = code ?? (error instanceof Error ? error.message : 'unknown reason');
  return { message: `The engine cannot be launched (${why}).`, diagnosis: seenDiagnosis('host') };
}

/** Starts the process; `follow` looks after its end. */
export async function launchEngine(
  core: LoopCore,
  runtime: Runtime,
  follow: (runtime: Runtime, plan: LaunchPlan, launched: LaunchedEngine) => void,
): Promise<void> {
  const { launcher, host, random, inspector } = core.parts;
  const { addressTries } = runtime.life;
  const spec = withLocalModel(core, runtime.life.spec);
  try {
    const incarnation = await launcher.nextIncarnation(spec.name);
    const llamas = [...core.runtimes()].filter(({ life }) => life.spec.kind === 'llama').length;
    const choice = { tries: addressTries, apiKey: hex(random.bytes(KEY_BYTES)) };
    const plan = buildLaunchPlan(spec, incarnation, llamas, host, choice);
    const output = await launcher.readOutput(plan.outputFile, Number.MAX_SAFE_INTEGER, 0);
    const oomKills = await inspector.oomKills();
    const launched = await launcher.launch(plan);
    resetRuntime(runtime, plan, launched, output.nextByte);
    if (oomKills !== undefined) runtime.oomKillsAtStart = oomKills;
    core.send(spec.name, { kind: 'launched', pid: launched.pid, incarnation, hash: plan.specHash });
    follow(runtime, plan, launched);
  } catch (error) {
    core.send(spec.name, { kind: 'launch_failed', ...launchTrouble(error) });
  }
}

/** Tells how far a start is, from the log and from earlier starts. */
function tellProgress(core: LoopCore, runtime: Runtime): void {
  const { life } = runtime;
  const elapsedMs = core.parts.clock.monotonicMs() - (life.launchedAtMs ?? life.sinceMs);
  const seen = startupProgress(runtime.tail);
  const memory = startMemory(runtime.tail, runtime.memory);
  if (memory !== undefined) runtime.memory = memory;
  if (seen !== undefined) runtime.marks[String(seen.ratio)] ??= elapsedMs;
  const milestone =
    seen === undefined ? {} : { milestone: { ratio: seen.ratio, atMs: runtime.marks[seen.ratio] ?? 0 } };
  const estimate = estimateStart({ elapsedMs, ...milestone }, core.pastStarts(startKey(life)));
  core.send(life.spec.name, {
    kind: 'progress',
    ratio: estimate.ratio,
    message: seen?.message ?? life.message,
    ...(estimate.etaMs === undefined ? {} : { etaMs: estimate.etaMs }),
  });
}

/** One look at an engine that loads. */
export async function probeStart(core: LoopCore, runtime: Runtime, plan: LaunchPlan): Promise<void> {
  const { probe, times } = core.parts;
  const { incarnation, spec } = runtime.life;
  await readOutput(core, runtime);
  tellProgress(core, runtime);
  if (isHeadless(plan.args)) {
    core.send(spec.name, { kind: 'serving', models: [] });
    return;
  }
  if ((await probe.health(plan.address, times.probeTimeoutMs)) !== 'ok') return;
  const models = await probe.models(plan.address, times.probeTimeoutMs);
  if (models === undefined || runtime.life.incarnation !== incarnation) return;
  core.send(spec.name, { kind: 'serving', models });
}

/** One look at an engine that an earlier agent started: when it answers it is taken as it is. */
export async function probeAdopted(core: LoopCore, runtime: Runtime, plan: LaunchPlan): Promise<void> {
  const { probe, times, unhealthyAfter } = core.parts;
  const { name } = runtime.life.spec;
  if (isHeadless(plan.args)) {
    core.send(name, { kind: 'serving', models: [] });
    return;
  }
  const health = await probe.health(plan.address, times.probeTimeoutMs);
  if (health === 'timeout') {
    // One that loads refuses connections; one that takes them and never answers stands still, and nothing else tells.
    runtime.badProbes += 1;
    const message = `It took ${runtime.badProbes} connections and answered none of them.`;
    if (runtime.badProbes >= unhealthyAfter) core.send(name, { kind: 'wedged', message });
    return;
  }
  if (health === 'refused' && runtime.hasAnswered && runtime.launched?.ended() !== true) {
    runtime.badProbes += 1;
    const message = 'It has served, and refuses connections now.';
    if (runtime.badProbes >= unhealthyAfter) core.send(name, { kind: 'unhealthy', message });
    return;
  }
  const models = health === 'ok' ? await probe.models(plan.address, times.probeTimeoutMs) : undefined;
  core.send(name, models === undefined ? { kind: 'loading' } : { kind: 'serving', models });
}

/** Asks for one real token, a few times: the proof that the engine may take traffic. */
export async function warmEngine(core: LoopCore, runtime: Runtime, plan: LaunchPlan): Promise<void> {
  const { probe, times, clock } = core.parts;
  const { incarnation, spec, models } = runtime.life;
  if (isHeadless(plan.args)) {
    core.send(spec.name, { kind: 'warmed', message: 'The member runs; the leader of its gang answers for it.' });
    return;
  }
  const model = models[0]?.id ?? spec.servedModelName;
  const isCurrent = (): boolean => runtime.life.incarnation === incarnation && runtime.life.status === 'warming';
  let last = '';
  for (let tries = 0; tries < WARM_TRIES && isCurrent(); tries++) {
    if (tries > 0) await pause(core, WARM_PAUSE_MS);
    const verdict = await probe.generateOne(plan.address, model, times.warmTimeoutMs);
    if (!isCurrent()) return;
    if (verdict.kind !== 'failed') {
      const totalMs = clock.monotonicMs() - (runtime.life.launchedAtMs ?? runtime.life.sinceMs);
      if (runtime.life.launchedAtMs !== undefined)
        core.recordStart(startKey(runtime.life), { totalMs, marks: runtime.marks });
      const message =
        verdict.kind === 'ok'
          ? `The engine gave its first token in ${Math.round(verdict.ms)} ms.`
          : 'The engine answers; its model does not generate.';
      core.send(spec.name, { kind: 'warmed', message });
      return;
    }
    last = verdict.message;
  }
  if (isCurrent())
    core.send(spec.name, { kind: 'warm_failed', message: `The engine could not generate one token: ${last}` });
}
