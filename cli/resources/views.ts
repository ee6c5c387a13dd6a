/** Resources, changes and events as people read them. */
import type { Event__Output } from '../../proto/gen/admin/v1/Event.ts';
import type { FieldChange__Output } from '../../proto/gen/admin/v1/FieldChange.ts';
import type { Freeze__Output } from '../../proto/gen/admin/v1/Freeze.ts';
import type { Resource__Output } from '../../proto/gen/admin/v1/Resource.ts';
import type { ResourceOutcome__Output } from '../../proto/gen/admin/v1/ResourceOutcome.ts';
import { ageText, type Cell, details, printable, table, withoutMarkers } from '../output.ts';
import { BY_HAND_COLUMNS, byHandDetails } from './by_hand_views.ts';

type Json = Readonly<Record<string, unknown>>;

const specOf = ({ specJson }: Resource__Output): Json => JSON.parse(specJson) as Json;

/** As it stands in a file. */
export function resourceObject(resource: Resource__Output): Json {
  const { kind, name, labels, version, updatedAtMs, updatedBy, status } = resource;
  const told = resource.engine ?? resource.quarantine;
  const shown = status === null ? plain(told) : statusObject(status);
  const labelled = Object.keys(labels).length === 0 ? {} : { labels };
  return {
    apiVersion: 'sophia/v1',
    kind,
    metadata: { name, ...labelled, version, updatedAtMs, updatedBy },
    spec: specOf(resource),
    ...(shown === undefined ? {} : { status: shown }),
  };
}

/** A message without the marks of its fields; undefined where there is none. */
const plain = (message: object | null): Json | undefined =>
  message === null ? undefined : (JSON.parse(JSON.stringify(message, withoutMarkers)) as Json);

function statusObject({ replicas, ...rest }: NonNullable<Resource__Output['status']>): Json {
  return {
    ...plain(rest),
    replicas,
  };
}

export const nameText = ({ kind, name }: { readonly kind: string; readonly name: string }): string =>
  `${kind.toLowerCase()}/${name}`;

interface Requirement {
  readonly key: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

const requirementText = ({ key, operator, values = [] }: Requirement): string =>
  values.length === 0 ? `${key} ${operator}` : `${key} ${operator} ${values.join('|')}`;

const NODE_STATES = ['cordoned', 'draining', 'retired'] as const;

/** Columns of each kind after the name. */
const COLUMNS: Readonly<Record<string, readonly (readonly [string, (spec: Json, of: Resource__Output) => Cell])[]>> = {
  ...BY_HAND_COLUMNS,
  Deployment: [
    [
      'ready',
      (spec, { status }) => (status === null ? `-/${String(spec['replicas'])}` : `${status.ready}/${status.wanted}`),
    ],
    ['engine', (spec) => String(spec['engine'])],
    ['model', (spec) => String(spec['servedModelName'])],
    ['gpus', (spec) => Number(spec['gpusPerHost']) * Number(spec['hosts'] ?? 1)],
    ['pool', (spec) => spec['pool'] as Cell],
  ],
  Node: [
    ['region', (spec) => spec['region'] as Cell],
    ['state', (spec) => NODE_STATES.filter((state) => spec[state] === true).join(', ')],
    [
      'taints',
      (spec) =>
        (spec['taints'] as Json[] | undefined)
          ?.map((taint) => `${String(taint['key'])}:${String(taint['effect'])}`)
          .join(', '),
    ],
  ],
  Pool: [['nodes', (spec) => (spec['nodes'] as Requirement[]).map(requirementText).join('; ') || 'all']],
  Alias: [
    [
      'targets',
      (spec) =>
        (spec['targets'] as Json[])
          .map((target) => `${String(target['deployment'])} ${String(target['weight'])}`)
          .join(', '),
    ],
  ],
};

function kindTable(kind: string, resources: readonly Resource__Output[], nowMs: number): string {
  const columns = COLUMNS[kind] ?? [];
  const rows = resources.map((resource) => {
    const spec = specOf(resource);
    const own = columns.map(([, cell]) => cell(spec, resource));
    return [resource.name, ...own, resource.version || undefined, ageText(nowMs, resource.updatedAtMs)];
  });
  return table([kind.toLowerCase(), ...columns.map(([name]) => name), 'version', 'changed'], rows);
}

/** A table for each kind. */
export function resourceTables(resources: readonly Resource__Output[], nowMs: number): string {
  const kinds = [...new Set(resources.map(({ kind }) => kind))];
  return kinds
    .map((kind) =>
      kindTable(
        kind,
        resources.filter((each) => each.kind === kind),
        nowMs,
      ),
    )
    .join('\n\n');
}

/** Kubernetes' words for what became of a resource. */
const WORDS: Readonly<Record<string, string>> = {
  created: 'created',
  changed: 'configured',
  unchanged: 'unchanged',
  deleted: 'deleted',
  stopped: 'stopped',
  not_found: 'not found',
};

export function outcomeLines(outcome: ResourceOutcome__Output, suffix: string): string[] {
  const notes = outcome.notes.map((note) => `  note: ${printable(note)}`);
  return [`${nameText(outcome)} ${WORDS[outcome.outcome] ?? outcome.outcome}${suffix}`, ...notes];
}

const MAX_VALUE = 120;
const cut = (text: string): string => (text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE - 3)}...` : text);

function changeLine({ path, before, after }: FieldChange__Output): string {
  if (before === undefined) return `  + ${path}: ${cut(after ?? '')}`;
  if (after === undefined) return `  - ${path}: ${cut(before)}`;
  return `  ~ ${path}: ${cut(before)} -> ${cut(after)}`;
}

/** A resource that an apply would change, with each member that differs. */
export function diffText(outcome: ResourceOutcome__Output): string {
  const head = outcome.outcome === 'created' ? 'would be created' : `would change (version ${outcome.version})`;
  const notes = outcome.notes.map((note) => `  note: ${note}`);
  return [`${nameText(outcome)} ${head}`, ...outcome.changes.map(changeLine), ...notes].map(printable).join('\n');
}

const timeText = (atMs: number): string => new Date(atMs).toISOString().replace('.000Z', 'Z');

export function eventLine(event: Event__Output): string {
  const { seq, atMs, kind, resourceKind, resourceName, actor, reason } = event;
  const why = reason === '' ? '' : `  ${reason}`;
  const text = `${seq}  ${timeText(atMs)}  ${kind.padEnd(18)}  ${resourceKind.toLowerCase()}/${resourceName}  ${actor}${why}`;
  return printable(text).replaceAll('\n', ' ');
}

export function eventObject({ beforeJson, afterJson, ...rest }: Event__Output): Json {
  return { ...rest, before: JSON.parse(beforeJson) as unknown, after: JSON.parse(afterJson) as unknown };
}

export function freezeText({ frozen, by, sinceMs, reason, gap }: Freeze__Output): string {
  if (!frozen) return 'Reconcile is not frozen.';
  return details([
    ['reconcile', 'frozen'],
    ['by', by],
    ['since', sinceMs === 0 ? undefined : timeText(sinceMs)],
    ['reason', reason],
    ['gap', gap],
  ]);
}

function replicaTable(resource: Resource__Output): string[] {
  const replicas = resource.status?.replicas ?? [];
  if (replicas.length === 0) return [];
  const rows = replicas.map(({ index, revision, state, engines, gpus, reason }) => [
    index,
    state,
    revision,
    engines.join(' '),
    gpus.map((each) => `${each.node}:${each.gpus.join(',')}`).join(' '),
    reason,
  ]);
  return ['', table(['replica', 'state', 'revision', 'engines', 'gpus', 'reason'], rows)];
}

export interface Description {
  readonly resource: Resource__Output;
  readonly statusNote: string;
  readonly notes: readonly string[];
  readonly events: readonly Event__Output[];
  readonly specText: string;
}

export function describeText({ resource, statusNote, notes, events, specText }: Description): string {
  const { status, labels } = resource;
  const facts = details([
    ['name', nameText(resource)],
    ['version', resource.version || undefined],
    ['changed', `${resource.updatedAtMs === 0 ? '' : `${timeText(resource.updatedAtMs)} `}by ${resource.updatedBy}`],
    [
      'labels',
      Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(', '),
    ],
    ...(status === null
      ? []
      : ([
          ['ready', `${status.ready} of ${status.wanted}`],
          ['rollout', status.rollout],
          ['memory', status.memory],
        ] as const)),
    ...byHandDetails(resource),
    ...(statusNote === '' ? [] : ([['status', statusNote]] as const)),
  ]);
  return [
    facts,
    ...notes.map((note) => `note: ${printable(note)}`),
    'spec:',
    ...specText
      .trimEnd()
      .split('\n')
      .map((line) => `  ${printable(line)}`),
    ...replicaTable(resource),
    ...(events.length === 0 ? [] : ['events:', ...events.map((event) => `  ${eventLine(event)}`)]),
  ].join('\n');
}
