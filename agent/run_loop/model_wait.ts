/** An engine whose model has a source waits for the files, tells how far they are, and is then given where they lie. */
import { seenDiagnosis } from '../core/crash_classifier.ts';
import type { AcceptedSpec } from '../core/engine_spec.ts';
import { enginePath } from '../core/model_files/listing.ts';
import type { ModelFilesState } from '../ports.ts';
import { type LoopCore, pause, type Runtime } from './parts.ts';

const LOOK_PERIOD_MS = 100;
const TELL_PERIOD_MS = 2000;

const NOT_WIRED: ModelFilesState = { kind: 'failed', message: 'This agent brings no files of models.' };

/** Says which models the engines of this host need; what nothing needs may make room. */
export function wantModels(core: LoopCore): void {
  core.parts.models?.setWanted([...core.runtimes()].flatMap(({ life }) => life.spec.modelSource ?? []));
}

function giveUp(core: LoopCore, runtime: Runtime, attempt: number, message: string): void {
  const checks = [{ name: 'model', verdict: 'fail', detail: message } as const];
  const outcome = { kind: 'stop', checks, diagnosis: seenDiagnosis('model_files'), message } as const;
  core.send(runtime.life.spec.name, { kind: 'checked', attempt, outcome });
}

/**
 * True when the files are there, or when there is nothing to wait for. False: the wait has lost its meaning, or the files
 * will not come, which the engine was told.
 */
export async function awaitModel(core: LoopCore, runtime: Runtime, attempt: number): Promise<boolean> {
  const { models, clock } = core.parts;
  const { modelSource, name } = runtime.life.spec;
  if (modelSource === undefined) return true;
  // Somebody asks for the engine anew, so what was given up is tried again.
  models?.again(modelSource);
  const isCurrent = (): boolean =>
    !core.closed && runtime.life.status === 'preflight' && runtime.life.attempt === attempt;
  // Files that are there are looked at within a moment, of which nobody need hear.
  let toldAtMs = clock.monotonicMs() + LOOK_PERIOD_MS - TELL_PERIOD_MS;
  for (; isCurrent(); await pause(core, LOOK_PERIOD_MS)) {
    const state = models?.stateOf(modelSource) ?? NOT_WIRED;
    if (state.kind === 'ready') return true;
    if (state.kind === 'failed') {
      giveUp(core, runtime, attempt, state.message);
      return false;
    }
    if (clock.monotonicMs() - toldAtMs < TELL_PERIOD_MS) continue;
    toldAtMs = clock.monotonicMs();
    const { message, ratio, etaMs } = state;
    core.send(name, { kind: 'fetching', attempt, message, ratio, ...(etaMs === undefined ? {} : { etaMs }) });
  }
  return false;
}

/** The specification with the local path in place of the model's name, where the files were brought here. */
export function withLocalModel(core: LoopCore, spec: AcceptedSpec): AcceptedSpec {
  const { modelSource } = spec;
  const state = modelSource === undefined ? undefined : core.parts.models?.stateOf(modelSource);
  return state?.kind === 'ready' ? { ...spec, model: enginePath(state.path, state.files, spec) } : spec;
}
