/**
 * Shows pictures of hosts as gauges, anew at each scrape: a GPU or an engine that is gone leaves no series behind, and a
 * reading that is unknown has none, never 0.
 */
import { AGENT_READINGS, ENGINE_READINGS, GPU_READINGS, HOST_READINGS, type ReadingRow } from './fleet_metric_names.ts';
import type { GaugeName, Metrics } from './metrics.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A host as telemetry describes it; both ends of a session have it in this form. */
export interface ShownHost {
  readonly node: string;
  readonly host?: object | null | undefined;
  readonly agent?: object | null | undefined;
  readonly gpus: readonly object[];
  readonly engines: readonly object[];
  readonly gpuSource?: string | undefined;
  readonly gpuSampleAgeMs?: number | undefined;
  /** Engines by name with the word of their state. */
  readonly states: Iterable<readonly [engine: string, state: string]>;
}

const SOURCES = ['nvml', 'nvidia-smi', 'none'] as const;
const HEALTHS = ['ok', 'degraded', 'unhealthy', 'quarantined'] as const;
const ADDRESSING = ['ats', 'hmm', 'none'] as const;
/** The states of an engine, in the words of EngineState in fleet.proto. */
export const ENGINE_STATES = [
  'pending',
  'preflight',
  'starting',
  'warming',
  'ready',
  'draining',
  'stopping',
  'stopped',
  'backoff',
  'failed',
  'quarantined',
  'adopted',
] as const;
const ALL_ROWS: readonly ReadingRow[] = [...GPU_READINGS, ...ENGINE_READINGS, ...HOST_READINGS, ...AGENT_READINGS];

type Series = [labels: Readonly<Record<string, string>>, value: number][];

class Collection {
  readonly #series = new Map<string, Series>();

  constructor(names: readonly string[]) {
    // Also what nobody has now: its series of the last time go.
    for (const name of names) this.#series.set(name, []);
  }

  add(metric: string, labels: Readonly<Record<string, string>>, value: number): void {
    this.#series.get(metric)?.push([labels, value]);
  }

  addReadings(rows: readonly ReadingRow[], fields: Fields, labels: Readonly<Record<string, string>>): void {
    for (const [field, metric, factor = 1] of rows) {
      const value = fields[field];
      if (typeof value === 'number') this.add(metric, labels, value * factor);
      else if (typeof value === 'boolean') this.add(metric, labels, Number(value));
    }
  }

  /** One series per word, 1 for the one that holds. */
  addOneOf(
    metric: string,
    label: string,
    words: readonly string[],
    word: string,
    labels: Readonly<Record<string, string>>,
  ): void {
    for (const each of words) this.add(metric, { ...labels, [label]: each }, Number(each === word));
  }

  show(metrics: Metrics): void {
    for (const [name, series] of this.#series) metrics.gauge(name as GaugeName).replace(series);
  }
}

const NAMES = [
  ...ALL_ROWS.map(([, metric]) => metric),
  'sophia_gpu_health',
  'sophia_gpu_recovery_action',
  'sophia_gpu_addressing_mode',
  'sophia_gpu_source',
  'sophia_gpu_sample_age_seconds',
  'sophia_engine_state',
];

function addGpu(shown: Collection, gpu: Fields, node: string): void {
  const labels = { node, gpu: String(gpu['index']) };
  shown.addReadings(GPU_READINGS, gpu, labels);
  const { health, recoveryAction, addressingMode } = gpu as Readonly<Record<string, string | undefined>>;
  if (health !== undefined) shown.addOneOf('sophia_gpu_health', 'state', HEALTHS, health, labels);
  if (addressingMode !== undefined)
    shown.addOneOf('sophia_gpu_addressing_mode', 'mode', ADDRESSING, addressingMode, labels);
  if (recoveryAction !== undefined) shown.add('sophia_gpu_recovery_action', { ...labels, action: recoveryAction }, 1);
}

/** Replaces all series of telemetry by those of these hosts; the caller bounds how many hosts these are. */
export function showHosts(metrics: Metrics, hosts: Iterable<ShownHost>): void {
  const shown = new Collection(NAMES);
  for (const { node, host, agent, gpus, engines, gpuSource, gpuSampleAgeMs, states } of hosts) {
    shown.addReadings(HOST_READINGS, (host ?? {}) as Fields, { node });
    shown.addReadings(AGENT_READINGS, (agent ?? {}) as Fields, { node });
    for (const gpu of gpus) addGpu(shown, gpu as Fields, node);
    for (const engine of engines as readonly Fields[])
      shown.addReadings(ENGINE_READINGS, engine, { node, engine: String(engine['engine']) });
    for (const [engine, state] of states)
      shown.addOneOf('sophia_engine_state', 'state', ENGINE_STATES, state, { node, engine });
    if (gpuSource !== undefined) shown.addOneOf('sophia_gpu_source', 'source', SOURCES, gpuSource, { node });
    if (gpuSampleAgeMs !== undefined && gpus.length > 0)
      shown.add('sophia_gpu_sample_age_seconds', { node }, gpuSampleAgeMs / 1000);
  }
  shown.show(metrics);
}
