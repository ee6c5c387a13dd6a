/**
 * Engines and quarantines for the doors: what is declared of them beside what the configuration orders and what agents say, each
 * once. What nobody declared has a name with a slash, `node/engine` or `node/gpu`, so that it is never taken for a resource.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { Entry, Projection } from '../../core/events/projection.ts';
import { PLACE_KIND } from '../../core/reconcile/contract.ts';
import { planStop } from '../../core/reconcile/stop_place.ts';
import { type Origin, type PlannedChange, resourceOf, type VersionConflict } from '../../core/resources/changes.ts';
import type {
  EngineReport,
  EngineStatus,
  QuarantineReport,
  QuarantineStatus,
  ReconcileView,
  Resource,
  ResourceKind,
} from '../../core/resources/contract.ts';
import type { FreezeView } from '../../core/resources/control_port.ts';
import { resourceText } from '../../core/resources/names.ts';
import type { ResourceRef, ResourceView } from '../../core/resources/operations.ts';
import { pinnedName } from '../../core/resources/pinned.ts';

type Reports = Pick<ReconcileView, 'engines' | 'quarantines'>;

const MAX_NAMED = 10;

function engineStatus({
  kind: _kind,
  model: _model,
  servedModelName: _served,
  sinceMs: _since,
  ...status
}: EngineReport) {
  return status satisfies EngineStatus;
}

function quarantineStatus({ name: _name, reason: _reason, sinceMs: _since, ...status }: QuarantineReport) {
  return status satisfies QuarantineStatus;
}

const declaredView = (entry: Entry): ResourceView => ({
  resource: resourceOf(entry),
  updatedAtMs: entry.atMs,
  updatedBy: entry.actor,
});

const toldResource = (kind: ResourceKind, name: string, version: number, spec: object): Resource => ({
  apiVersion: 'sophia/v1',
  kind,
  metadata: { name, labels: {}, version },
  spec: spec as Resource['spec'],
});

/** An engine that is no resource of its own. */
function toldEngine(report: EngineReport, projection: Projection): ResourceView {
  const { node, engine, gpus, kind, model, servedModelName, sinceMs, source, place = '' } = report;
  const entry = projection.get('placement', PLACE_KIND, place);
  const spec = { node, engine: kind, model, servedModelName, gpusPerHost: gpus.length };
  return {
    resource: toldResource('Engine', `${node}/${engine}`, entry?.version ?? 0, spec),
    updatedAtMs: entry?.atMs ?? sinceMs,
    updatedBy: entry?.actor ?? (source === 'configuration' ? 'configuration' : `agent:${node}`),
    engine: engineStatus(report),
  };
}

const RANK: Readonly<Record<string, number>> = { placed: 0, waiting: 1, leaving: 2, stopping: 3, lost: 4 };

/** Of the places of a declared engine the one that stands for it. */
function standsFor(reports: readonly EngineReport[]): EngineReport | undefined {
  const rank = ({ phase = '' }: EngineReport): number => RANK[phase] ?? 0;
  return reports.toSorted((left, right) => rank(left) - rank(right))[0];
}

export function engineViews(projection: Projection, reconcile: Reports | undefined): ResourceView[] {
  const reports = reconcile?.engines() ?? [];
  const byDeployment = new Map<string, EngineReport[]>();
  for (const report of reports) {
    if (report.source !== 'declared' || report.deployment === undefined) continue;
    const mine = byDeployment.get(report.deployment) ?? [];
    mine.push(report);
    byDeployment.set(report.deployment, mine);
  }
  const shown = new Set<EngineReport>();
  const declared = projection.list('desired', 'Engine').map((entry): ResourceView => {
    const report = standsFor(byDeployment.get(pinnedName(entry.name)) ?? []);
    if (report === undefined) return declaredView(entry);
    shown.add(report);
    return { ...declaredView(entry), engine: engineStatus(report) };
  });
  const others = reports.filter((report) => !shown.has(report) && report.engine !== '');
  return [...declared, ...others.map((report) => toldEngine(report, projection))];
}

export function quarantineViews(projection: Projection, reconcile: Reports | undefined): ResourceView[] {
  const reports = reconcile?.quarantines() ?? [];
  const byName = new Map(reports.filter(({ source }) => source === 'declared').map((report) => [report.name, report]));
  const declared = projection.list('quarantine', 'Quarantine').map((entry): ResourceView => {
    const report = byName.get(entry.name);
    return report === undefined
      ? declaredView(entry)
      : { ...declaredView(entry), quarantine: quarantineStatus(report) };
  });
  const others = reports.filter(({ source }) => source === 'agent');
  return [
    ...declared,
    ...others.map((report): ResourceView => {
      const { name, node, gpu, reason, sinceMs } = report;
      const resource = toldResource('Quarantine', name, 0, { node, gpu, reason });
      const quarantine = quarantineStatus(report);
      return { resource, updatedAtMs: sinceMs, updatedBy: `agent:${node}`, quarantine };
    }),
  ];
}

export const VIEWS = { Engine: engineViews, Quarantine: quarantineViews } as const;
export type InventoryKind = keyof typeof VIEWS;

export const isInventoryKind = (kind: ResourceKind): kind is InventoryKind => Object.hasOwn(VIEWS, kind);

/**
 * The one of this name; an engine also by its own name or `node/engine`, where that names one only.
 * @throws CodedError invalid_value
 */
export function viewNamed(views: readonly ResourceView[], name: string): ResourceView | undefined {
  const exact = views.find(({ resource }) => resource.metadata.name === name);
  if (exact !== undefined) return exact;
  const found = views.filter(
    ({ engine }) =>
      engine !== undefined && engine.engine !== '' && [engine.engine, `${engine.node}/${engine.engine}`].includes(name),
  );
  if (found.length <= 1) return found[0];
  const names = found.slice(0, MAX_NAMED).map(({ engine }) => `${engine?.node}/${engine?.engine}`);
  throw new CodedError('invalid_value', `Several engines have this name: ${names.join(', ')}. Name one of them.`, {
    param: 'name',
  });
}

const elsewhere = (ref: ResourceRef, text: string): CodedError => {
  const param = resourceText(ref.kind, ref.name.slice(0, 253));
  return new CodedError('managed_elsewhere', `${param} ${text} Nothing was changed.`, { param });
};

/** Why a delete does not end it, and what does; undefined: it is a replica's. */
function whyNotStopped(ref: ResourceRef, { resource, engine }: ResourceView): CodedError | undefined {
  switch (engine?.source) {
    case 'deployment':
      return undefined;
    case 'configuration':
      return elsewhere(
        ref,
        `is an engine of the setting nodes: take it out of the configuration of the scheduler, and start that anew.`,
      );
    case 'declared':
      return engine.phase === 'stopping' || engine.phase === 'lost'
        ? undefined
        : elsewhere(ref, `runs for ${resourceText('Engine', resource.metadata.name)}: delete that.`);
    default:
      return elsewhere(
        ref,
        `was ordered by nobody here: its agent ends it with the next orders that it takes from this scheduler, and \`sophia node list\` shows whether it takes any.`,
      );
  }
}

/** What deleting something comes to that is no entry of its kind; undefined: there is no such thing. */
export type PlanUndeclared = (
  ref: ResourceRef,
  projection: Projection,
  origin: Origin,
) => PlannedChange | VersionConflict | undefined;

/** @param reconcile asked once, when the first such thing is named */
export function createPlanUndeclared(
  reconcile: Reports | undefined,
  projection: Projection,
  freeze: () => FreezeView,
): PlanUndeclared {
  const known = new Map<InventoryKind, readonly ResourceView[]>();
  const viewsOf = (kind: InventoryKind): readonly ResourceView[] => {
    const views = known.get(kind) ?? VIEWS[kind](projection, reconcile);
    known.set(kind, views);
    return views;
  };
  return (ref, now, origin) => {
    const { kind, name } = ref;
    if (!isInventoryKind(kind)) return undefined;
    const view = viewNamed(viewsOf(kind), name);
    // Somebody deleted the resource itself in between.
    if (view === undefined || (view.resource.metadata.name === name && !name.includes('/'))) return undefined;
    const { quarantine, engine } = view;
    if (quarantine !== undefined)
      throw elsewhere(
        ref,
        `was set by the agent of ${quarantine.node}: ${quarantine.note}, once what was wrong is right.`,
      );
    const refusal = whyNotStopped(ref, view);
    if (refusal !== undefined) throw refusal;
    const { frozen, by, reason } = freeze();
    if (frozen) {
      const text = `The fleet is frozen by ${by} (${reason}): what is stopped now would not be placed anew.`;
      throw new CodedError('fleet_frozen', text, { param: resourceText(kind, name.slice(0, 253)) });
    }
    return planStop(ref, now.get('placement', PLACE_KIND, engine?.place ?? ''), origin);
  };
}

/** What is told about a resource beside its status. */
export function inventoryNotes({ engine, quarantine }: ResourceView): string[] {
  const notes = [quarantine?.note ?? ''];
  if (engine?.source === 'configuration') notes.push('it is one of the setting `nodes`, and is changed there');
  if (engine?.source === 'unknown') notes.push('nobody here has ordered it');
  if (engine?.source === 'deployment' && engine.deployment !== undefined)
    notes.push(`it belongs to deployment/${engine.deployment}; to delete it gives the replica a new place`);
  return notes.filter((note) => note !== '');
}
