/** A control plane over a store in memory, with its operations. */
import type { Test } from 'tap';
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import type { SignedAnchor } from '../../../scheduler/core/events/anchors.ts';
import {
  type ControlPlaneOptions,
  createControlPlane,
  type OpenedStore,
} from '../../../scheduler/adapters/control/control_plane.ts';
import { createResourceOperations } from '../../../scheduler/adapters/resources/operations.ts';
import type { ReconcileView, ReplicaView } from '../../../scheduler/core/resources/contract.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory_store.ts';
import { silentLog } from '../fakes.ts';

export const CALLER = { actor: 'key:ops', correlationId: 'req_1' };

export const deployment = (name: string, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: 'sophia/v1',
  kind: 'Deployment',
  metadata: { name, ...metadata },
  spec: { engine: 'sim', model: 'm', gpusPerHost: 0, ...spec },
});

const REPLICA: ReplicaView = {
  index: 0,
  revision: 'r1',
  engines: ['node-a/chat-0'],
  gpus: [{ node: 'node-a', gpus: [0] }],
  state: 'ready',
  reason: '',
};

/** Somebody who reconciles. */
export const VIEW: ReconcileView = {
  leader: () => ({ isLeader: true, holder: 'a', epoch: 1 }),
  deploymentStatus: (name) =>
    name === 'chat'
      ? { observedVersion: 1, wanted: 2, ready: 1, replicas: [REPLICA], rollout: 'half way', memory: '5.0 GiB' }
      : undefined,
  plan: async (applied, deleted) => ({
    lines: [`${applied.length} applied, ${deleted.length} deleted`],
    assignments: 1,
    preemptions: 0,
    stops: 0,
    pending: 0,
  }),
  explainDeployment: async (name) => [`${name}: node-a does`],
  defragment: async (maxMoves) => ({
    lines: [`at most ${maxMoves}`],
    plan: `plan-of-${maxMoves}`,
    moves: [
      {
        deployment: 'chat',
        revision: 'r1',
        index: 0,
        from: [{ node: 'node-a', gpus: [0] }],
        to: [
          {
            node: 'node-b',
            gpus: [1],
            gpuMemoryBytes: 5,
            graceSpillBytes: 0,
            gpuMemoryShare: 0.5,
            hostMemoryBytes: 0,
          },
        ],
        gpuMemoryBytes: 5,
        modelOnDisk: true,
      },
    ],
    before: { emptyGpus: 0, emptyNodes: 0, pending: 1 },
    after: { emptyGpus: 1, emptyNodes: 1, pending: 0 },
    cost: { starts: 1, fetches: 0, gpuMemoryTwiceBytes: 5 },
  }),
  rollout: (name) =>
    name === 'chat'
      ? { name, phase: 'replacing', paused: false, revision: 'r2', lines: ['half way'], history: ['none before'] }
      : undefined,
  engines: () => [],
  quarantines: () => [],
};

export interface ControlFixtureOptions {
  readonly store?: MemoryStore;
  readonly anchor?: SignedAnchor;
  readonly change?: Partial<ControlPlaneOptions>;
  readonly reconcile?: ReconcileView;
}

let ids = 0;

export function openControl(t: Test, options: ControlFixtureOptions = {}) {
  const store = options.store ?? createMemoryStore();
  const calls = { opened: 0, anchored: 0, accepted: 0 };
  const open = async (): Promise<OpenedStore> => {
    await store.head();
    calls.opened++;
    return {
      store,
      newestAnchor: () => options.anchor,
      anchor: async () => void calls.anchored++,
      stateAt: store.stateAt,
      accept: async () => void calls.accepted++,
    };
  };
  const control = createControlPlane({
    open,
    openAtStart: false,
    clock: systemClock,
    random: systemRandom,
    logger: silentLog,
    pollMs: 10,
    anchorPeriodMs: 3_600_000,
    checkpointPeriodMs: 3_600_000,
    checkpointEvents: 1000,
    ...options.change,
  });
  control.start();
  t.teardown(() => control.stop());
  let reconcile = options.reconcile;
  const operations = createResourceOperations({
    control,
    reconcile: () => reconcile,
    newId: () => `id-${++ids}`,
    breathe: async () => undefined,
  });
  return { store, control, operations, calls, use: (view: ReconcileView) => (reconcile = view) };
}
