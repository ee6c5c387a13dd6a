/** What the control plane answers, as messages of admin.v1. */
import type { PlanDefragmentationResponse } from '../../../proto/gen/admin/v1/PlanDefragmentationResponse.ts';
import type { Event } from '../../../proto/gen/admin/v1/Event.ts';
import type { Freeze } from '../../../proto/gen/admin/v1/Freeze.ts';
import type { Rollout } from '../../../proto/gen/admin/v1/Rollout.ts';
import type { Resource } from '../../../proto/gen/admin/v1/Resource.ts';
import type { ResourceOutcome as OutcomeMessage } from '../../../proto/gen/admin/v1/ResourceOutcome.ts';
import type { StateEntry } from '../../../proto/gen/admin/v1/StateEntry.ts';
import type { FleetEvent } from '../../core/events/event.ts';
import type { Entry } from '../../core/events/projection.ts';
import type {
  DefragmentView,
  DeploymentStatus,
  EngineStatus,
  PlannedMove,
  QuarantineStatus,
  RolloutReport,
} from '../../core/resources/contract.ts';
import type { FreezeView } from '../../core/resources/control_port.ts';
import type { ResourceOutcome, ResourceView } from '../../core/resources/operations.ts';

function statusMessage({ observedVersion, wanted, ready, replicas, rollout, memory }: DeploymentStatus) {
  return {
    observedVersion,
    wanted,
    ready,
    replicas: replicas.map(({ index, revision, engines, gpus, state, reason }) => ({
      index,
      revision,
      engines: [...engines],
      gpus: gpus.map((each) => ({ node: each.node, gpus: [...each.gpus] })),
      state,
      reason,
    })),
    ...(rollout === undefined ? {} : { rollout }),
    ...(memory === undefined ? {} : { memory }),
  };
}

const engineMessage = ({ gpus, ...rest }: EngineStatus) => ({ ...rest, gpus: [...gpus] });
const quarantineMessage = ({ replicas, ...rest }: QuarantineStatus) => ({ ...rest, replicas: [...replicas] });

export function resourceMessage(view: ResourceView): Resource {
  const { resource, updatedAtMs, updatedBy, status, engine, quarantine } = view;
  const { kind, metadata, spec } = resource;
  return {
    kind,
    name: metadata.name,
    version: metadata.version ?? 0,
    labels: { ...metadata.labels },
    specJson: JSON.stringify(spec),
    updatedAtMs,
    updatedBy,
    status: status === undefined ? null : statusMessage(status),
    engine: engine === undefined ? null : engineMessage(engine),
    quarantine: quarantine === undefined ? null : quarantineMessage(quarantine),
  };
}

export const outcomeMessage = ({ changes, notes, ...rest }: ResourceOutcome): OutcomeMessage => ({
  ...rest,
  notes: [...notes],
  changes: changes.map(({ path, before, after }) => ({
    path,
    ...(before === undefined ? {} : { before: JSON.stringify(before) }),
    ...(after === undefined ? {} : { after: JSON.stringify(after) }),
  })),
});

export const eventMessage = ({ resource, before, after, effect: _effect, ...rest }: FleetEvent): Event => ({
  ...rest,
  resourceKind: resource.kind,
  resourceName: resource.name,
  beforeJson: JSON.stringify(before),
  afterJson: JSON.stringify(after),
});

export const freezeMessage = (view: FreezeView): Freeze => ({ ...view });

export const entryMessage = ({ value, ...rest }: Entry): StateEntry => ({ ...rest, valueJson: JSON.stringify(value) });

export const rolloutMessage = ({ lines, history, ...rest }: RolloutReport): Rollout => ({
  ...rest,
  lines: [...lines],
  history: [...history],
});

const gpusMessage = (parts: PlannedMove['from']) => parts.map(({ node, gpus }) => ({ node, gpus: [...gpus] }));

export const defragmentMessage = ({ lines, moves, ...rest }: DefragmentView): PlanDefragmentationResponse => ({
  ...rest,
  lines: [...lines],
  moves: moves.map(({ from, to, ...move }) => ({ ...move, from: gpusMessage(from), to: gpusMessage(to) })),
});
