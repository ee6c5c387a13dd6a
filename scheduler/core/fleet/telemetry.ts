/**
 * Puts an agent's messages together to the picture that it meant. A snapshot is the whole picture; a delta names the
 * entries that changed. Nothing that an agent says is believed unseen: a figure that cannot be (not a number, negative,
 * beyond any machine) is left out and counted, so that it is never shown and never steers a request.
 */
import type { EngineReading__Output } from '../../../proto/gen/fleet/v1/EngineReading.ts';
import type { GpuReading__Output } from '../../../proto/gen/fleet/v1/GpuReading.ts';
import type { ModelReading__Output } from '../../../proto/gen/fleet/v1/ModelReading.ts';
import type { Telemetry__Output } from '../../../proto/gen/fleet/v1/Telemetry.ts';
import { MAX_ENGINES_PER_NODE } from './state.ts';

/** GPUs that are kept per node. */
export const MAX_GPUS_PER_NODE = 256;
/** Models on disk that are kept per node. */
export const MAX_MODELS_PER_NODE = 1024;

export interface Merged {
  readonly picture: Telemetry__Output;
  /** Figures and entries of the message that were left out. */
  readonly leftOut: number;
}

/** What a reading may be: a number from 0 to `max`, a truth, or a text of at most `maxChars`. */
type Rule =
  | { readonly kind: 'number'; readonly max: number }
  | { readonly kind: 'truth' }
  | { readonly kind: 'text'; readonly maxChars: number };

const TRUTH: Rule = { kind: 'truth' };
const RATIO: Rule = { kind: 'number', max: 1 };
/** A pebibyte: more than a host, its disks or its GPUs have. */
const BYTES: Rule = { kind: 'number', max: 2 ** 50 };
const COUNT: Rule = { kind: 'number', max: Number.MAX_SAFE_INTEGER };
const CELSIUS: Rule = { kind: 'number', max: 250 };
const MHZ: Rule = { kind: 'number', max: 100_000 };
const REQUESTS: Rule = { kind: 'number', max: 1_000_000 };
/** A month. */
const MS: Rule = { kind: 'number', max: 31 * 86_400_000 };
const WORD: Rule = { kind: 'text', maxChars: 64 };

const GPU_RULES: Readonly<Record<string, Rule>> = {
  index: { kind: 'number', max: 1023 },
  utilizationRatio: RATIO,
  memoryUsedBytes: BYTES,
  memoryTotalBytes: BYTES,
  memoryUsableBytes: BYTES,
  temperatureCelsius: CELSIUS,
  powerWatts: { kind: 'number', max: 100_000 },
  memoryTemperatureCelsius: CELSIUS,
  smClockMhz: MHZ,
  memoryClockMhz: MHZ,
  clocksEventReasons: COUNT,
  throttledNs: COUNT,
  eccCorrectedTotal: COUNT,
  eccUncorrectedTotal: COUNT,
  remappedRowsCorrected: COUNT,
  remappedRowsUncorrected: COUNT,
  remapPending: TRUTH,
  remapFailed: TRUTH,
  recoveryAction: WORD,
  numaNode: COUNT,
  addressingMode: WORD,
  c2cLinkCount: COUNT,
  c2cErrorTotal: COUNT,
  migEnabled: TRUTH,
  pcieReplayTotal: COUNT,
  health: WORD,
};

const ENGINE_RULES: Readonly<Record<string, Rule>> = {
  engine: WORD,
  incarnation: COUNT,
  runningRequests: REQUESTS,
  waitingRequests: REQUESTS,
  kvCacheUsageRatio: RATIO,
  kvCacheTokens: COUNT,
  generationTokensTotal: COUNT,
  relayedRequests: REQUESTS,
  gpuMemoryBytes: BYTES,
  hostMemoryBytes: BYTES,
  interTokenP50Ms: MS,
  silentMs: MS,
  sleeping: TRUTH,
  weightsBytes: BYTES,
  kvCacheBytes: BYTES,
  activationBytes: BYTES,
};

const HOST_RULES: Readonly<Record<string, Rule>> = {
  cpuUtilizationRatio: RATIO,
  memoryUsedBytes: BYTES,
  loadAverage_1m: { kind: 'number', max: 1_000_000 },
  diskFreeBytes: { kind: 'number', max: 2 ** 53 - 1 },
};

const AGENT_RULES: Readonly<Record<string, Rule>> = {
  rssBytes: BYTES,
  loopLagP99Ms: MS,
  relayLoopLagP99Ms: MS,
  gcPauseMaxMs: MS,
};

const MODEL_RULES: Readonly<Record<string, Rule>> = {
  source: { kind: 'text', maxChars: 2400 },
  state: WORD,
  totalBytes: BYTES,
  presentBytes: BYTES,
  bytesPerSecond: BYTES,
  // Of a slow source it may be beyond any month.
  etaMs: COUNT,
  message: { kind: 'text', maxChars: 1024 },
  resolved: WORD,
  wanted: TRUTH,
};

function keeps(value: unknown, rule: Rule): boolean {
  switch (rule.kind) {
    case 'number':
      return typeof value === 'number' && value >= 0 && value <= rule.max;
    case 'truth':
      return typeof value === 'boolean';
    case 'text':
      return typeof value === 'string' && value.length <= rule.maxChars;
  }
}

/** The fields that may be believed; the same object where that is all of them. */
function believed<Entry extends object>(entry: Entry, rules: Readonly<Record<string, Rule>>, tally: Tally): Entry {
  const fields = entry as Readonly<Record<string, unknown>>;
  let kept: Record<string, unknown> | undefined;
  for (const field in fields) {
    const rule = rules[field];
    // A name without a rule marks the presence of another field.
    if (rule === undefined || fields[field] === undefined || keeps(fields[field], rule)) continue;
    kept ??= { ...fields };
    delete kept[field];
    delete kept[`_${field}`];
    tally.leftOut += 1;
  }
  return (kept ?? entry) as Entry;
}

interface Tally {
  leftOut: number;
}

/** Entries by their key: those that stand, less the ones that are gone, with the told ones in place of older ones. */
function mergeEntries<Key, Entry extends object>(
  standing: Entry[],
  told: readonly Entry[],
  gone: readonly Key[],
  keyOf: (entry: Entry) => Key | undefined,
  rules: Readonly<Record<string, Rule>>,
  most: number,
  tally: Tally,
): Entry[] {
  if (told.length === 0 && gone.length === 0) return standing;
  const entries = new Map<Key, Entry>();
  for (const entry of standing) entries.set(keyOf(entry) as Key, entry);
  for (const key of gone) entries.delete(key);
  for (const raw of told) {
    const entry = believed(raw, rules, tally);
    const key = keyOf(entry);
    if (key === undefined || key === '' || (!entries.has(key) && entries.size >= most)) tally.leftOut += 1;
    else entries.set(key, entry);
  }
  return [...entries.values()];
}

const MAX_REASON_CHARS = 512;

/** The newest of a text: absent stands as it was, empty is none. */
function textOf(told: string | undefined, standing: string | undefined, maxChars: number): string | undefined {
  if (told === undefined) return standing;
  return told === '' ? undefined : told.slice(0, maxChars);
}

const optional = <Name extends string, Value>(name: Name, value: Value | undefined): { [N in Name]?: Value } =>
  (value === undefined ? {} : { [name]: value }) as { [N in Name]?: Value };

/**
 * The picture after a message.
 * @param standing the picture of this session before it; undefined: this session has told none yet
 * @returns undefined for a delta that nothing came before: it says how something changed that is not known
 */
export function mergeTelemetry(
  standing: Telemetry__Output | undefined,
  message: Telemetry__Output,
): Merged | undefined {
  const before = message.snapshot ? undefined : standing;
  if (before === undefined && !message.snapshot) return undefined;
  const tally: Tally = { leftOut: 0 };
  const { host, agent, goneGpus, goneEngines } = message;
  const gpus = mergeEntries<number, GpuReading__Output>(
    before?.gpus ?? [],
    message.gpus,
    goneGpus,
    (gpu) => gpu.index,
    GPU_RULES,
    MAX_GPUS_PER_NODE,
    tally,
  );
  const engines = mergeEntries<string, EngineReading__Output>(
    before?.engines ?? [],
    message.engines,
    goneEngines,
    (engine) => engine.engine,
    ENGINE_RULES,
    MAX_ENGINES_PER_NODE,
    tally,
  );
  const models = mergeEntries<string, ModelReading__Output>(
    before?.models ?? [],
    message.models,
    message.goneModels,
    (model) => model.source,
    MODEL_RULES,
    MAX_MODELS_PER_NODE,
    tally,
  );
  const ages = believed(
    { atMs: message.atMs ?? before?.atMs, gpuSampleAgeMs: message.gpuSampleAgeMs ?? before?.gpuSampleAgeMs },
    { atMs: COUNT, gpuSampleAgeMs: COUNT },
    tally,
  );
  const picture: Telemetry__Output = {
    snapshot: true,
    goneGpus: [],
    goneEngines: [],
    goneModels: [],
    ...optional('atMs', ages.atMs),
    ...optional('gpuSampleAgeMs', ages.gpuSampleAgeMs),
    host: host === null ? (before?.host ?? null) : believed(host, HOST_RULES, tally),
    agent: agent === null ? (before?.agent ?? null) : believed(agent, AGENT_RULES, tally),
    gpus,
    engines,
    models,
    ...optional('gpuSource', textOf(message.gpuSource, before?.gpuSource, 64)),
    ...optional('gpuReason', textOf(message.gpuReason, before?.gpuReason, MAX_REASON_CHARS)),
  };
  return { picture, leftOut: tally.leftOut };
}
