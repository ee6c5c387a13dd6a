/** Counts the replicas of a deployment by revision: how many there are, are ready, and may be sent requests. */
import type { ReplicaFacts, Running } from './contract.ts';

export interface RevisionCount {
  /** All that hold a place, those that drain and stop included: their GPUs are taken. */
  readonly existing: number;
  readonly ready: number;
  /** Ready, and proven or passed: it may be sent requests. */
  readonly admitted: number;
}

export interface Census {
  of(revision: string): RevisionCount;
  /** Revisions that have replicas and are neither the old nor the new one, in order of their names. */
  readonly leftovers: readonly string[];
  /** Replicas of the new revision. */
  readonly fresh: readonly ReplicaFacts[];
}

const NONE: RevisionCount = { existing: 0, ready: 0, admitted: 0 };

/** A failed replica has its place until it is ordered away, so it counts as existing. */
export function takeCensus(
  replicas: readonly ReplicaFacts[],
  { from, to, passed }: Pick<Running, 'from' | 'to' | 'passed'>,
): Census {
  const counts = new Map<string, RevisionCount>();
  const keys = new Set(passed);
  for (const { key, revision, state, gpu } of replicas) {
    const before = counts.get(revision) ?? NONE;
    const isReady = state === 'ready' && gpu !== 'failed';
    const isAdmitted = isReady && (revision === from?.id || keys.has(key));
    counts.set(revision, {
      existing: before.existing + 1,
      ready: before.ready + (isReady ? 1 : 0),
      admitted: before.admitted + (isAdmitted ? 1 : 0),
    });
  }
  return {
    of: (revision) => counts.get(revision) ?? NONE,
    leftovers: [...counts.keys()].filter((id) => id !== from?.id && id !== to.id).sort(),
    fresh: replicas.filter(({ revision }) => revision === to.id),
  };
}
