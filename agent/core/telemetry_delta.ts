/**
 * What of a new picture is worth telling a scheduler that already has an older one. An entry (a GPU, an engine, the host,
 * the agent) travels as a whole when one of its readings left the dead-band around what the scheduler has, when a reading
 * became known or unknown, or when a smaller change has waited long enough: so a figure that drifts slowly arrives too,
 * and noise costs nothing. Dead-bands are measured against what was sent, never against the last sample, because many
 * small steps would otherwise add up to a change that nobody was told of.
 */
import type { AgentReading } from '../../proto/gen/fleet/v1/AgentReading.ts';
import type { EngineReading } from '../../proto/gen/fleet/v1/EngineReading.ts';
import type { GpuReading } from '../../proto/gen/fleet/v1/GpuReading.ts';
import type { HostReading } from '../../proto/gen/fleet/v1/HostReading.ts';
import type { ModelReading } from '../../proto/gen/fleet/v1/ModelReading.ts';
import type { Telemetry } from '../../proto/gen/fleet/v1/Telemetry.ts';

/**
 * How far a reading may stray from what was sent: `exact`, or the larger of `abs` (in the unit of the reading) and `rel`
 * (a share of the sent value).
 */
export type Band = 'exact' | { readonly abs: number; readonly rel?: number };

/** The readings of an entry: every field but its name and what the generated types add for presence. */
type ReadingOf<Entry> = Exclude<keyof Entry & string, `_${string}` | 'index' | 'engine'>;
type Bands<Entry> = Readonly<Record<ReadingOf<Entry>, Band>>;

const MIB = 1024 * 1024;
const MEMORY: Band = { abs: 64 * MIB, rel: 0.002 };

export const GPU_BANDS: Bands<GpuReading> = {
  utilizationRatio: { abs: 0.03 },
  memoryUsedBytes: MEMORY,
  memoryTotalBytes: 'exact',
  // nvidia-smi rounds both parts of it to whole MiB.
  memoryUsableBytes: MEMORY,
  temperatureCelsius: { abs: 1.5 },
  powerWatts: { abs: 10, rel: 0.05 },
  memoryTemperatureCelsius: { abs: 1.5 },
  smClockMhz: { abs: 60 },
  memoryClockMhz: { abs: 60 },
  clocksEventReasons: 'exact',
  // Counts up all the time while clocks are lowered; the reasons say at once that they are.
  throttledNs: { abs: 5e9 },
  eccCorrectedTotal: 'exact',
  eccUncorrectedTotal: 'exact',
  remappedRowsCorrected: 'exact',
  remappedRowsUncorrected: 'exact',
  remapPending: 'exact',
  remapFailed: 'exact',
  recoveryAction: 'exact',
  numaNode: 'exact',
  addressingMode: 'exact',
  c2cLinkCount: 'exact',
  c2cErrorTotal: 'exact',
  migEnabled: 'exact',
  pcieReplayTotal: 'exact',
  health: 'exact',
};

export const ENGINE_BANDS: Bands<EngineReading> = {
  incarnation: 'exact',
  // Routing counts requests one by one.
  runningRequests: 'exact',
  waitingRequests: 'exact',
  relayedRequests: 'exact',
  kvCacheUsageRatio: { abs: 0.01 },
  kvCacheTokens: 'exact',
  generationTokensTotal: { abs: 0, rel: 0.001 },
  gpuMemoryBytes: MEMORY,
  hostMemoryBytes: MEMORY,
  interTokenP50Ms: { abs: 0.5, rel: 0.1 },
  silentMs: { abs: 1000, rel: 0.5 },
  sleeping: 'exact',
  weightsBytes: 'exact',
  kvCacheBytes: 'exact',
  activationBytes: 'exact',
};

export const HOST_BANDS: Bands<HostReading> = {
  cpuUtilizationRatio: { abs: 0.05 },
  memoryUsedBytes: { abs: 256 * MIB, rel: 0.01 },
  loadAverage_1m: { abs: 0.5, rel: 0.1 },
  diskFreeBytes: { abs: 256 * MIB, rel: 0.01 },
};

export const AGENT_BANDS: Bands<AgentReading> = {
  rssBytes: { abs: 8 * MIB, rel: 0.05 },
  loopLagP99Ms: { abs: 5, rel: 0.5 },
  relayLoopLagP99Ms: { abs: 5, rel: 0.5 },
  gcPauseMaxMs: { abs: 10, rel: 0.5 },
};

export const MODEL_BANDS: Bands<Omit<ModelReading, 'source'>> = {
  state: 'exact',
  totalBytes: 'exact',
  presentBytes: MEMORY,
  bytesPerSecond: { abs: MIB, rel: 0.2 },
  etaMs: { abs: 2000, rel: 0.2 },
  message: 'exact',
  resolved: 'exact',
  wanted: 'exact',
  // The reader keeps one object for as long as the facts are the same.
  facts: 'exact',
  peers: 'exact',
  peerBytes: MEMORY,
};

/** A change inside the dead-bands is told after this long. */
export const SETTLE_MS = 15_000;
/** An age of the GPU sample is told by itself when it grew by this and has doubled: figures that stand still. */
const AGE_STEP_MS = 5000;

/** Everything that an agent can read, at one moment. */
export interface Picture {
  /** Wall clock, milliseconds since the epoch. */
  readonly atMs: number;
  readonly host: HostReading;
  readonly agent: AgentReading;
  readonly gpus: readonly GpuReading[];
  readonly engines: readonly EngineReading[];
  readonly models: readonly ModelReading[];
  readonly gpuSource: string;
  readonly gpuReason?: string | undefined;
  readonly gpuSampleAgeMs: number;
}

interface Sent<Entry> {
  readonly entry: Entry;
  /** Monotonic milliseconds. */
  readonly atMs: number;
}

/** What one scheduler has been told. */
export interface TelemetryBase {
  readonly host: Sent<HostReading>;
  readonly agent: Sent<AgentReading>;
  readonly gpus: ReadonlyMap<number, Sent<GpuReading>>;
  readonly engines: ReadonlyMap<string, Sent<EngineReading>>;
  readonly models: ReadonlyMap<string, Sent<ModelReading>>;
  readonly gpuSource: string;
  readonly gpuReason: string;
  readonly gpuSampleAgeMs: number;
}

export interface Delta {
  readonly message: Telemetry;
  /** What the scheduler has once it took the message. */
  readonly base: TelemetryBase;
  /** False: the message says only that the agent is alive and everything stands as it was. */
  readonly changed: boolean;
}

/** Whether `now` lies outside the band around what was sent; a reading that became known or unknown always does. */
export function leavesBand(sent: unknown, now: unknown, band: Band): boolean {
  if (sent === now) return false;
  if (band === 'exact' || typeof sent !== 'number' || typeof now !== 'number') return true;
  return Math.abs(now - sent) > Math.max(band.abs, (band.rel ?? 0) * Math.abs(sent));
}

type Fields = Readonly<Record<string, unknown>>;

/** Which of two changes an entry has: outside of its bands, only inside of them, or none. */
function compare(sent: Fields, now: Fields, bands: Readonly<Record<string, Band>>): 'leaves' | 'differs' | 'same' {
  let differs = false;
  for (const field in bands) {
    const before = sent[field];
    const after = now[field];
    if (before === after) continue;
    if (leavesBand(before, after, bands[field] as Band)) return 'leaves';
    differs = true;
  }
  return differs ? 'differs' : 'same';
}

function worthTelling(
  sent: Sent<object> | undefined,
  now: object,
  bands: Readonly<Record<string, Band>>,
  nowMs: number,
): boolean {
  if (sent === undefined) return true;
  if (sent.entry === now) return false;
  const found = compare(sent.entry as Fields, now as Fields, bands);
  return found === 'leaves' || (found === 'differs' && nowMs - sent.atMs >= SETTLE_MS);
}

interface EntriesDelta<Key, Entry> {
  readonly told: Entry[];
  readonly gone: Key[];
  readonly base: ReadonlyMap<Key, Sent<Entry>>;
}

function entriesDelta<Key, Entry extends object>(
  base: ReadonlyMap<Key, Sent<Entry>>,
  entries: readonly Entry[],
  keyOf: (entry: Entry) => Key,
  bands: Readonly<Record<string, Band>>,
  nowMs: number,
): EntriesDelta<Key, Entry> {
  const told: Entry[] = [];
  const next = new Map<Key, Sent<Entry>>();
  for (const entry of entries) {
    const key = keyOf(entry);
    const sent = base.get(key);
    if (sent !== undefined && !worthTelling(sent, entry, bands, nowMs)) next.set(key, sent);
    else {
      told.push(entry);
      next.set(key, { entry, atMs: nowMs });
    }
  }
  const gone = [...base.keys()].filter((key) => !next.has(key));
  return { told, gone, base: told.length + gone.length === 0 ? base : next };
}

const gpuKey = (gpu: GpuReading): number => gpu.index ?? 0;
const engineKey = (engine: EngineReading): string => engine.engine ?? '';
const modelKey = (model: ModelReading): string => model.source ?? '';

/** The whole picture, for a scheduler that has none. @param nowMs monotonic milliseconds */
export function snapshotOf(picture: Picture, nowMs: number): Delta {
  const { atMs, host, agent, gpus, engines, models, gpuSource, gpuReason = '', gpuSampleAgeMs } = picture;
  const sent = <Entry>(entry: Entry): Sent<Entry> => ({ entry, atMs: nowMs });
  return {
    message: {
      atMs,
      snapshot: true,
      host,
      agent,
      gpus: [...gpus],
      engines: [...engines],
      ...(models.length === 0 ? {} : { models: [...models] }),
      gpuSource,
      gpuSampleAgeMs,
      ...(gpuReason === '' ? {} : { gpuReason }),
    },
    base: {
      host: sent(host),
      agent: sent(agent),
      gpus: new Map(gpus.map((gpu) => [gpuKey(gpu), sent(gpu)])),
      engines: new Map(engines.map((engine) => [engineKey(engine), sent(engine)])),
      models: new Map(models.map((model) => [modelKey(model), sent(model)])),
      gpuSource,
      gpuReason,
      gpuSampleAgeMs,
    },
    changed: true,
  };
}

/**
 * What a scheduler with `base` lacks of `picture`. A message is always given, as a sign of life; the base is to be kept
 * only when the message was really handed over, so that what was lost is told by the next one.
 * @param nowMs monotonic milliseconds
 */
export function deltaOf(base: TelemetryBase | undefined, picture: Picture, nowMs: number): Delta {
  if (base === undefined) return snapshotOf(picture, nowMs);
  const { atMs, host, agent, gpuSource, gpuReason = '', gpuSampleAgeMs } = picture;
  const gpus = entriesDelta(base.gpus, picture.gpus, gpuKey, GPU_BANDS, nowMs);
  const engines = entriesDelta(base.engines, picture.engines, engineKey, ENGINE_BANDS, nowMs);
  const models = entriesDelta(base.models, picture.models, modelKey, MODEL_BANDS, nowMs);
  const tellsHost = worthTelling(base.host, host, HOST_BANDS, nowMs);
  const tellsAgent = worthTelling(base.agent, agent, AGENT_BANDS, nowMs);
  const aged = gpuSampleAgeMs - base.gpuSampleAgeMs >= Math.max(AGE_STEP_MS, base.gpuSampleAgeMs);
  const told = {
    ...(tellsHost ? { host } : {}),
    ...(tellsAgent ? { agent } : {}),
    ...(gpus.told.length > 0 ? { gpus: gpus.told } : {}),
    ...(engines.told.length > 0 ? { engines: engines.told } : {}),
    ...(models.told.length > 0 ? { models: models.told } : {}),
    ...(models.gone.length > 0 ? { goneModels: models.gone } : {}),
    ...(gpus.gone.length > 0 ? { goneGpus: gpus.gone } : {}),
    ...(engines.gone.length > 0 ? { goneEngines: engines.gone } : {}),
    ...(gpuSource === base.gpuSource ? {} : { gpuSource }),
    // Empty: there is no reason any more.
    ...(gpuReason === base.gpuReason ? {} : { gpuReason }),
    ...(aged ? { gpuSampleAgeMs } : {}),
  };
  const changed = Object.keys(told).length > 0;
  // The age costs three bytes, so whatever is told anyway carries it.
  const message = changed ? { atMs, ...told, gpuSampleAgeMs } : { atMs };
  const next = {
    host: tellsHost ? { entry: host, atMs: nowMs } : base.host,
    agent: tellsAgent ? { entry: agent, atMs: nowMs } : base.agent,
    gpus: gpus.base,
    engines: engines.base,
    models: models.base,
    gpuSource,
    gpuReason,
    gpuSampleAgeMs: changed ? gpuSampleAgeMs : base.gpuSampleAgeMs,
  };
  return { message, base: next, changed };
}

/** Requests on an engine by which its load jumps: this many, and this share of what was there. */
export const JUMP = { requests: 8, share: 0.5 } as const;

/** Whether the requests of some engine changed so much that schedulers are told at once. Counts per engine. */
export function loadJumped(told: Readonly<Record<string, number>>, now: Readonly<Record<string, number>>): boolean {
  const jumps = (engine: string): boolean => {
    const before = told[engine] ?? 0;
    return Math.abs((now[engine] ?? 0) - before) >= Math.max(JUMP.requests, JUMP.share * before);
  };
  return Object.keys(now).some(jumps) || Object.keys(told).some((engine) => now[engine] === undefined && jumps(engine));
}
