/** Engines and quarantines as people read them: those that are declared, and those that only the configuration or an agent knows. */
import type { EngineStatus__Output } from '../../proto/gen/admin/v1/EngineStatus.ts';
import type { QuarantineStatus__Output } from '../../proto/gen/admin/v1/QuarantineStatus.ts';
import type { Resource__Output } from '../../proto/gen/admin/v1/Resource.ts';
import type { Cell } from '../output.ts';

type Json = Readonly<Record<string, unknown>>;
type Columns = readonly (readonly [string, (spec: Json, of: Resource__Output) => Cell])[];

const timeText = (atMs: number): string => new Date(atMs).toISOString().replace('.000Z', 'Z');

/** Who wants an engine: `chat/0` for a replica, else the word. */
function ofText(engine: EngineStatus__Output | null): Cell {
  if (engine === null) return undefined;
  const { source, deployment, replica } = engine;
  return source === 'deployment' ? `${deployment}/${replica}` : source;
}

/** A GPU by its index where it is known, else as it was declared; `all` for a whole node. */
function gpuText(spec: Json, quarantine: QuarantineStatus__Output | null): string {
  const declared = spec['gpu'] as number | string | undefined;
  return String(quarantine?.gpu ?? quarantine?.uuid ?? declared ?? 'all');
}

const reasonText = ({ state, reason, phaseReason = '' }: EngineStatus__Output): string =>
  state === 'ready' && phaseReason !== 'it is wanted' && phaseReason !== '' ? phaseReason : reason;

function untilText(spec: Json, quarantine: QuarantineStatus__Output | null): Cell {
  if (quarantine?.untilMs !== undefined) return timeText(quarantine.untilMs);
  const until = spec['until'];
  return typeof until === 'number' ? `${until} ms` : (until as Cell);
}

/** Columns of a table after the name. */
export const BY_HAND_COLUMNS: Readonly<Record<'Engine' | 'Quarantine', Columns>> = {
  Engine: [
    ['node', (spec) => String(spec['node'])],
    ['gpus', (_spec, { engine }) => engine?.gpus.join(',')],
    ['of', (_spec, { engine }) => ofText(engine)],
    ['kind', (spec) => spec['engine'] as Cell],
    ['model', (spec) => spec['servedModelName'] as Cell],
    ['state', (_spec, { engine }) => engine?.state],
    ['phase', (_spec, { engine }) => engine?.phase],
    ['reason', (_spec, { engine }) => (engine === null ? undefined : reasonText(engine))],
  ],
  Quarantine: [
    ['node', (spec) => String(spec['node'])],
    ['gpu', (spec, { quarantine }) => gpuText(spec, quarantine)],
    ['by', (_spec, { quarantine }) => quarantine?.source ?? 'declared'],
    ['until', (spec, { quarantine }) => untilText(spec, quarantine)],
    ['still there', (_spec, { quarantine }) => quarantine?.replicas.join(' ')],
    ['reason', (spec) => String(spec['reason'])],
  ],
};

/** What `describe` says of them beside what it says of every resource. */
export function byHandDetails({ engine, quarantine, specJson }: Resource__Output): (readonly [string, Cell])[] {
  if (engine !== null)
    return [
      ['of', ofText(engine)],
      ['engine', engine.engine === '' ? undefined : `${engine.node}/${engine.engine}`],
      ['gpus', engine.gpus.join(', ')],
      ['place', engine.place],
      ['phase', engine.phase === undefined ? undefined : `${engine.phase}: ${engine.phaseReason ?? ''}`],
      ['state', engine.state],
      ['reason', engine.reason],
    ];
  if (quarantine === null) return [];
  const spec = JSON.parse(specJson) as Json;
  return [
    ['set by', quarantine.source],
    [
      'keeps off',
      quarantine.gpu === undefined ? gpuWords(spec, quarantine) : `GPU ${quarantine.gpu} of ${quarantine.node}`,
    ],
    ['gpu uuid', quarantine.uuid],
    ['until', untilText(spec, quarantine)],
    ['still there', quarantine.replicas.join(', ')],
  ];
}

function gpuWords(spec: Json, { node }: QuarantineStatus__Output): string {
  const declared = spec['gpu'] as number | string | undefined;
  return declared === undefined ? `all of ${node}` : `GPU ${declared} of ${node}`;
}
