/** Looks after the end of a process: told at once, explained by its output, and over only when its GPU memory is free. */
import { classifyCrash } from '../core/crash_classifier.ts';
import { judgeRelease, type ReleaseVerdict } from '../core/gpu_release.ts';
import type { EngineExit, LaunchedEngine, LaunchPlan } from '../ports.ts';
import { type LoopCore, pause, readOutput, type Runtime } from './parts.ts';

const PART_DIED = 'A process that the engine cannot do without has ended; the engine is ended too.';
const RELEASE_PERIOD_MS = 250;

const exitFacts = ({ exitCode, signal }: EngineExit) => ({
  ...(exitCode === undefined ? {} : { exitCode }),
  ...(signal === undefined ? {} : { signal }),
});

/**
 * Waits until no GPU lists a process of the engine; gives the last verdict on it. Bounded in time, and without a wait
 * where no sample can tell.
 */
async function awaitGpuRelease(core: LoopCore, runtime: Runtime, endedAtMs: number): Promise<ReleaseVerdict> {
  const { clock, gpus, times } = core.parts;
  const { gpuIds } = runtime.life.spec;
  if (gpuIds.length === 0) return { kind: 'released' };
  const until = clock.monotonicMs() + times.gpuReleaseTimeoutMs;
  for (;;) {
    const verdict = judgeRelease(gpus.latest(), gpuIds, runtime.pids, endedAtMs);
    if (verdict.kind === 'released' || verdict.kind === 'blind' || clock.monotonicMs() >= until) return verdict;
    gpus.readProcessesSoon();
    await pause(core, RELEASE_PERIOD_MS);
  }
}

/** What the journal says of a GPU that was not seen to be released. */
const NOT_RELEASED = { wait: 'gpu_release_unknown', blind: 'gpu_release_unknown', held: 'gpu_not_released' } as const;

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
    ...(runtime.served ? { served: true } : {}),
    ...(before === undefined || now === undefined ? {} : { hostOomKills: now - before }),
    ...(xid === undefined ? {} : { xid }),
  });
}

const orphansText = (count: number): string =>
  `${count === 1 ? 'One process' : `${count} processes`} outlived the engine and ${count === 1 ? 'was' : 'were'} killed.`;

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
  let release: ReleaseVerdict = { kind: 'released' };
  try {
    diagnosis = await explain(core, runtime, exit);
    release = await awaitGpuRelease(core, runtime, endedAtMs);
  } catch (error) {
    core.parts.log.warn({ engine, err: error }, 'the end of an engine could not be explained');
  }
  if (core.closed) return;
  if (runtime.launched === launched) delete runtime.launched;
  if (release.kind !== 'released') core.note(runtime, NOT_RELEASED[release.kind], release.message);
  if (exit.orphansKilled !== undefined && exit.orphansKilled > 0)
    core.note(runtime, 'orphans_killed', orphansText(exit.orphansKilled));
  core.send(engine, {
    kind: 'gone',
    ...exitFacts(exit),
    ...(diagnosis === undefined ? {} : { diagnosis }),
    // A host that can never tell has it in its journal, and not in the story of each end.
    ...(release.kind === 'wait' || release.kind === 'held' ? { holdouts: release.message } : {}),
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
