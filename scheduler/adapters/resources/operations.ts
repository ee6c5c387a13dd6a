/** The operations of the doors over the control plane: the one place where they are put together. */
import { CodedError } from '../../../lib/errors.ts';
import type { Entry } from '../../core/events/projection.ts';
import { PLACE_KIND } from '../../core/reconcile/contract.ts';
import { areaOf, resourceOf } from '../../core/resources/changes.ts';
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
import { wantedBy } from '../../core/resources/pinned.ts';
import { resourceNotes } from '../../core/resources/rules.ts';
import { apply, applyResources, deleteAll, kindOf, parseAll, refsOf } from './apply_operations.ts';
import {
  createPlanUndeclared,
  inventoryNotes,
  isInventoryKind,
  type PlanUndeclared,
  viewNamed,
  VIEWS,
} from './inventory.ts';
import { defragment, NO_RECONCILE, orderDefragment } from './defragment_operations.ts';
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

type OperationsDeps = OperationsOptions & { readonly turns: Turns; readonly undeclared: () => PlanUndeclared };

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

/** A declared engine without a place says why it has none, which to find out takes a plan. */
function explained(view: ResourceView, reconcile: ReconcileView | undefined): ResourceView {
  const { engine } = view;
  if (engine?.source !== 'declared' || engine.engine !== '' || engine.deployment === undefined) return view;
  const [replica] = reconcile?.deploymentStatus(engine.deployment)?.replicas ?? [];
  return replica === undefined ? view : { ...view, engine: { ...engine, reason: replica.reason } };
}

/** @throws CodedError not_found, invalid_value, store_… */
async function find(deps: OperationsDeps, ref: RawRef): Promise<ResourceView> {
  const kind = kindOf(ref.kind);
  const projection = await readState(deps);
  const reconcile = deps.reconcile();
  if (isInventoryKind(kind)) {
    const view = viewNamed(VIEWS[kind](projection, reconcile), ref.name);
    if (view !== undefined) return explained(view, reconcile);
  } else {
    const entry = projection.get('desired', kind, ref.name);
    if (entry !== undefined) return viewOf(entry, reconcile);
  }
  const param = resourceText(kind, ref.name.slice(0, 253));
  throw new CodedError('not_found', `There is no ${param}.`, { param });
}

/** @param word empty or `all`: all kinds, and of each what is declared, so that it can be applied again */
async function list(deps: OperationsDeps, word: string): Promise<ResourceView[]> {
  const isAll = word === '' || word === 'all';
  const projection = await readState(deps);
  const reconcile = deps.reconcile();
  return (isAll ? RESOURCE_KINDS : [kindOf(word)]).flatMap((kind) => {
    if (!isInventoryKind(kind)) return projection.list('desired', kind).map((entry) => viewOf(entry, reconcile));
    const views = VIEWS[kind](projection, reconcile);
    return isAll ? views.filter(({ resource }) => !resource.metadata.name.includes('/')) : views;
  });
}

const HAVE_STATUS: ReadonlySet<ResourceKind> = new Set(['Deployment', 'Engine', 'Quarantine']);

/** Whether an event is about a resource, or about the place of an engine. */
function isAbout({ resource, engine }: ResourceView) {
  const { kind, metadata } = resource;
  return (of: { readonly kind: string; readonly name: string }): boolean =>
    (of.kind === kind && of.name === metadata.name) || (of.kind === PLACE_KIND && of.name === engine?.place);
}

async function describe(deps: OperationsDeps, ref: RawRef): Promise<DescribeAnswer> {
  const view = await find(deps, ref);
  const { control } = deps;
  const missing = deps.reconcile() === undefined ? NO_RECONCILE : 'Reconcile has not looked at it yet.';
  const has = (kind: ResourceKind, name: string): boolean =>
    control.projection().get(areaOf(kind), kind, name) !== undefined;
  const hasStatus = view.status !== undefined || view.engine !== undefined || view.quarantine !== undefined;
  const isAboutIt = isAbout(view);
  return {
    ...view,
    statusNote: HAVE_STATUS.has(view.resource.kind) && !hasStatus ? missing : '',
    notes: [...resourceNotes(view.resource, has), ...inventoryNotes(view)],
    events: control
      .recentEvents()
      .filter(({ resource }) => isAboutIt(resource))
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
  return { ...(await reconcile.plan(resources, refsOf(request.deleted))), outcomes };
}

/** @param name of a deployment, or `engine/NAME` */
async function explain({ control, reconcile }: OperationsDeps, name: string) {
  const wanted = wantedBy(name);
  const entry = control.projection().get('desired', wanted.kind, wanted.name);
  if (entry === undefined) return undefined;
  const { servedModelName } = resourceOf(entry).spec as unknown as DeploymentSpec;
  const view = reconcile();
  return { servedModelName, lines: view === undefined ? [NO_RECONCILE] : await view.explainDeployment(name) };
}

export function createResourceOperations(options: OperationsOptions): ResourceOperations {
  const { control, newId } = options;
  const undeclared = () => createPlanUndeclared(options.reconcile(), control.projection(), control.freeze);
  const deps: OperationsDeps = { ...options, undeclared, turns: createTurns() };
  return {
    apply: (request, caller) => apply(deps, request, caller),
    delete: (request, caller) => deleteAll(deps, request, caller),
    get: (ref) => find(deps, ref),
    list: (word) => list(deps, word),
    describe: (ref) => describe(deps, ref),
    declaredNodes: () => declaredNodes(control),
    plan: (request) => plan(deps, request),
    defragment: (maxMoves) => defragment(deps, maxMoves),
    orderDefragment: (order, caller) => orderDefragment(deps, order, caller),
    explain: (name) => explain(deps, name),
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
