/** Looks after the end of a process: told at once, explained by its output, and over only when its GPU memory is free. */
import { classifyCrash } from '../core/crash_classifier.ts';
import { judgeRelease } from '../core/gpu_release.ts';
import type { EngineExit, LaunchedEngine, LaunchPlan } from '../ports.ts';
import { type LoopCore, pause, readOutput, type Runtime } from './parts.ts';

const PART_DIED = 'A process that the engine cannot do without has ended; the engine is ended too.';
const RELEASE_PERIOD_MS = 250;

const exitFacts = ({ exitCode, signal }: EngineExit) => ({
  ...(exitCode === undefined ? {} : { exitCode }),
  ...(signal === undefined ? {} : { signal }),
});

/** Waits until no GPU lists a process of the engine; gives what stayed, or undefined. Bounded in time. */
async function awaitGpuRelease(core: LoopCore, runtime: Runtime, endedAtMs: number): Promise<string | undefined> {
  const { clock, gpus, times } = core.parts;
  const { gpuIds } = runtime.life.spec;
  if (gpuIds.length === 0) return undefined;
  const until = clock.monotonicMs() + times.gpuReleaseTimeoutMs;
  for (;;) {
    const verdict = judgeRelease(gpus.latest(), gpuIds, runtime.pids, endedAtMs);
    if (verdict.kind === 'released') return undefined;
    if (clock.monotonicMs() >= until)
      return verdict.kind === 'held' ? verdict.message : 'Whether its GPU memory is free could not be read in time.';
    await pause(core, RELEASE_PERIOD_MS);
  }
}

async function explain(core: LoopCore, runtime: Runtime, exit: EngineExit) {
  await readOutput(core, runtime);
  const { inspector, recentXid } = core.parts;
  const before = runtime.oomKillsAtStart;
  const now = await inspector.oomKills();
  const xid = recentXid?.(runtime.life.spec.gpuIds);
  return classifyCrash({
    output: `${runtime.tail}\n${exit.lastLines ?? ''}`,
    ...exitFacts(exit),
    ...(exit.unseen === true ? { unseen: true } : {}),
    ...(before === undefined || now === undefined ? {} : { hostOomKills: now - before }),
    ...(xid === undefined ? {} : { xid }),
  });
}

/** From a process that runs to one that is gone. Never rejects: what fails on the way is part of the story. */
export async function followEngine(
  core: LoopCore,
  runtime: Runtime,
  plan: LaunchPlan,
  launched: LaunchedEngine,
): Promise<void> {
  const { engine } = plan;
  void launched.partDied?.then(() => {
    if (runtime.launched === launched) core.send(engine, { kind: 'part_died', message: PART_DIED });
  });
  const exitedEarly = await launched.died;
  if (core.closed) return;
  core.send(engine, { kind: 'died', ...exitFacts(exitedEarly) });
  const exit = await launched.exited;
  const endedAtMs = core.parts.clock.wallMs();
  if (core.closed) return;
  let diagnosis: Awaited<ReturnType<typeof explain>> | undefined;
  let holdouts: string | undefined;
  try {
    diagnosis = await explain(core, runtime, exit);
    holdouts = await awaitGpuRelease(core, runtime, endedAtMs);
  } catch (error) {
    core.parts.log.warn({ engine, err: error }, 'the end of an engine could not be explained');
  }
  if (core.closed) return;
  if (runtime.launched === launched) delete runtime.launched;
  if (holdouts !== undefined) core.note(runtime, 'gpu_not_released', holdouts);
  if (exit.orphansKilled !== undefined && exit.orphansKilled > 0)
    core.note(runtime, 'orphans_killed', `${exit.orphansKilled} processes outlived the engine and were killed.`);
  core.send(engine, {
    kind: 'gone',
    ...exitFacts(exit),
    ...(diagnosis === undefined ? {} : { diagnosis }),
    ...(holdouts === undefined ? {} : { holdouts }),
  });
}

/** Writes down what a wedged engine was doing, in a bounded time, then ends its whole tree. */
export async function dumpAndKill(core: LoopCore, runtime: Runtime): Promise<void> {
  const { plan, launched, life } = runtime;
  if (plan === undefined || launched === undefined) return;
  try {
    await readOutput(core, runtime);
    const file = await core.parts.dumper.dump({
      engine: plan.engine,
      incarnation: plan.incarnation,
      folder: plan.workingDirectory,
      pids: await launched.processes(),
      address: plan.address,
      why: life.message,
      lastLines: runtime.tail.slice(-8192),
    });
    if (file !== undefined && !core.closed) core.note(runtime, 'dumped', `What it was doing is in ${file}.`);
  } catch (error) {
    core.parts.log.warn({ engine: plan.engine, err: error }, 'a wedged engine could not be dumped');
  }
  launched.signal('SIGKILL');
}
