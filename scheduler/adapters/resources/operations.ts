/** The operations of the doors over the control plane: the one place where they are put together. */
import { CodedError } from '../../../lib/errors.ts';
import type { Entry } from '../../core/events/projection.ts';
import { resourceOf } from '../../core/resources/changes.ts';
import {
  type DeploymentSpec,
  type ReconcileView,
  RESOURCE_KINDS,
  type ResourceKind,
} from '../../core/resources/contract.ts';
import type { ControlPlane } from '../../core/resources/control_port.ts';
import { declaredNodes } from '../../core/resources/declared_nodes.ts';
import { resourceText } from '../../core/resources/names.ts';
import type {
  DescribeAnswer,
  PlanAnswer,
  PlanRequest,
  RawRef,
  ResourceOperations,
  ResourceView,
} from '../../core/resources/operations.ts';
import { resourceNotes } from '../../core/resources/rules.ts';
import { apply, applyResources, deleteAll, kindOf, parseAll, refsOf } from './apply_operations.ts';
import { orderRollout, showRollout } from './rollout_operations.ts';
import { createTurns, type Turns } from './turns.ts';
import { followEvents, liftFreeze, listEvents, replay, setFreeze } from './log_operations.ts';

export interface OperationsOptions {
  readonly control: ControlPlane;
  /** Who reconciles in this scheduler; undefined: nobody. Asked anew each time. */
  readonly reconcile: () => ReconcileView | undefined;
  readonly newId: () => string;
  /** Lets other work of the process have its turn. */
  readonly breathe: () => Promise<void>;
}

type OperationsDeps = OperationsOptions & { readonly turns: Turns };

const NO_RECONCILE = 'This scheduler does not reconcile: nothing is known of replicas, placements and plans.';
/** Events of one resource that `describe` shows. */
const MAX_DESCRIBED = 20;

function viewOf(entry: Entry, reconcile: ReconcileView | undefined): ResourceView {
  const status = entry.kind === 'Deployment' ? reconcile?.deploymentStatus(entry.name) : undefined;
  return {
    resource: resourceOf(entry),
    updatedAtMs: entry.atMs,
    updatedBy: entry.actor,
    ...(status === undefined ? {} : { status }),
  };
}

/** State that was read at least once; what is in memory counts after that, also with the store away. */
async function readState({ control }: OperationsDeps) {
  if (!control.isRead()) await control.catchUp();
  return control.projection();
}

/** @throws CodedError not_found, invalid_value, store_… */
async function entryOf(deps: OperationsDeps, ref: RawRef): Promise<Entry> {
  const kind = kindOf(ref.kind);
  const entry = (await readState(deps)).get('desired', kind, ref.name);
  if (entry !== undefined) return entry;
  const param = resourceText(kind, ref.name.slice(0, 253));
  throw new CodedError('not_found', `There is no ${param}.`, { param });
}

async function describe(deps: OperationsDeps, ref: RawRef): Promise<DescribeAnswer> {
  const entry = await entryOf(deps, ref);
  const { control } = deps;
  const reconcile = deps.reconcile();
  const view = viewOf(entry, reconcile);
  const isDeployment = entry.kind === 'Deployment';
  const missing = reconcile === undefined ? NO_RECONCILE : 'Reconcile has not looked at it yet.';
  const has = (kind: ResourceKind, name: string): boolean =>
    control.projection().get('desired', kind, name) !== undefined;
  return {
    ...view,
    statusNote: isDeployment && view.status === undefined ? missing : '',
    notes: resourceNotes(view.resource, has),
    events: control
      .recentEvents()
      .filter(({ resource }) => resource.kind === entry.kind && resource.name === entry.name)
      .slice(-MAX_DESCRIBED),
  };
}

async function plan(deps: OperationsDeps, request: PlanRequest): Promise<PlanAnswer> {
  const reconcile = deps.reconcile();
  if (reconcile === undefined) throw new CodedError('reconcile_unavailable', NO_RECONCILE);
  await readState(deps);
  const nobody = { actor: 'plan', correlationId: '', reason: '' };
  const resources = request.resources.length === 0 ? [] : await parseAll(request.resources, deps.breathe);
  const { outcomes } = await applyResources(deps, resources, true, nobody);
  return { ...reconcile.plan(resources, refsOf(request.deleted)), outcomes };
}

function explain({ control, reconcile }: OperationsDeps, name: string) {
  const entry = control.projection().get('desired', 'Deployment', name);
  if (entry === undefined) return undefined;
  const { servedModelName } = resourceOf(entry).spec as unknown as DeploymentSpec;
  const view = reconcile();
  return { servedModelName, lines: view === undefined ? [NO_RECONCILE] : view.explainDeployment(name) };
}

export function createResourceOperations(options: OperationsOptions): ResourceOperations {
  const deps: OperationsDeps = { ...options, turns: createTurns() };
  const { control, newId } = deps;
  return {
    apply: (request, caller) => apply(deps, request, caller),
    delete: (request, caller) => deleteAll(deps, request, caller),
    get: async (ref) => viewOf(await entryOf(deps, ref), deps.reconcile()),
    async list(word) {
      const kinds = word === '' || word === 'all' ? RESOURCE_KINDS : [kindOf(word)];
      const projection = await readState(deps);
      const reconcile = deps.reconcile();
      return kinds.flatMap((kind) => projection.list('desired', kind).map((entry) => viewOf(entry, reconcile)));
    },
    describe: (ref) => describe(deps, ref),
    declaredNodes: () => declaredNodes(control),
    plan: (request) => plan(deps, request),
    explain: async (name) => explain(deps, name),
    rollout: (name) => showRollout(deps, name),
    orderRollout: (request, caller) => orderRollout(deps, request, caller),
    freeze: () => control.freeze(),
    setFreeze: (reason, caller) => setFreeze(control, newId, reason, caller),
    liftFreeze: (reason, acceptLog, caller) => liftFreeze(control, newId, { reason, acceptLog }, caller),
    events: (request) => listEvents(control, request),
    follow: (request, signal) => followEvents(control, request, signal),
    replay: (until, area) => replay(control, until, area),
  };
}
