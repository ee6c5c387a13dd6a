/** How the files of models on this host are told to schedulers: how far they are, and from whom they came. */
import { sourceName } from '../../../lib/model_source.ts';
import type { ModelReading } from '../../../proto/gen/fleet/v1/ModelReading.ts';
import { etaMsOf, type FetchProgress } from '../../core/model_files/progress.ts';
import type { FetchJob } from './fetch_job.ts';
import type { StoredFiles } from './models_folder.ts';

export function progressOf(job: FetchJob): FetchProgress {
  const { presentBytes, totalBytes } = job;
  return {
    presentBytes,
    bytesPerSecond: job.bytesPerSecond(),
    ...(totalBytes === undefined ? {} : { totalBytes }),
  };
}

/** The nodes that gave bytes, the largest part first. Ranges that a cut lost count twice, so the sum has a bound. */
function peersTold(
  parts: readonly (readonly [string, number])[],
  mostBytes: number,
): Pick<ModelReading, 'peers' | 'peerBytes'> {
  if (parts.length === 0) return {};
  const sum = parts.reduce((total, [, bytes]) => total + bytes, 0);
  const peers = parts
    .toSorted(([, a], [, b]) => b - a)
    .map(([node]) => node)
    .join(', ');
  return { peers, peerBytes: Math.min(mostBytes, sum) };
}

/** @param facts what the files say of the model's size, where somebody has looked */
export function storedReading(
  { source, resolved, bytes, peers }: StoredFiles,
  wanted: boolean,
  facts: Pick<ModelReading, 'facts'>,
): ModelReading {
  const whole = { totalBytes: bytes, presentBytes: bytes };
  return {
    source,
    state: 'ready',
    resolved,
    wanted,
    message: '',
    ...whole,
    ...facts,
    ...peersTold(Object.entries(peers), bytes),
  };
}

export function jobReading(
  job: FetchJob,
  { wanted, message }: { readonly wanted: boolean; readonly message: string },
): ModelReading {
  const { state } = job;
  const isMoving = state.kind === 'fetching';
  const etaMs = isMoving ? etaMsOf(progressOf(job)) : undefined;
  const presentBytes = state.kind === 'ready' ? state.model.bytes : job.presentBytes;
  return {
    source: sourceName(job.source),
    state: state.kind,
    resolved: state.kind === 'ready' ? state.model.resolved : '',
    wanted,
    message,
    presentBytes,
    ...(job.totalBytes === undefined ? {} : { totalBytes: job.totalBytes }),
    ...(isMoving ? { bytesPerSecond: Math.round(job.bytesPerSecond()) } : {}),
    ...(etaMs === undefined ? {} : { etaMs }),
    ...peersTold([...job.peerBytes], presentBytes),
  };
}
