/**
 * What simulated agents say. Each second some of the GPUs and engines of a host have changed, the others stand; how many
 * is part of the load's shape, as it decides what a scheduler has to do.
 */
import { LANE_PROTOCOL_VERSION } from '../../proto/codec.ts';
import type { EngineReading } from '../../proto/gen/fleet/v1/EngineReading.ts';
import type { GpuReading } from '../../proto/gen/fleet/v1/GpuReading.ts';
import type { Hello } from '../../proto/gen/fleet/v1/Hello.ts';
import type { Telemetry } from '../../proto/gen/fleet/v1/Telemetry.ts';

export interface FleetShape {
  readonly gpus: number;
  readonly engines: number;
  /** GPUs and engines of a host whose readings changed since the message before. */
  readonly changing: number;
}

const GIB = 1024 ** 3;

const indexes = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

function gpuReading(index: number, round: number): GpuReading {
  return {
    index,
    utilizationRatio: (round % 97) / 100,
    memoryUsedBytes: 60 * GIB + round * 4096,
    memoryTotalBytes: 80 * GIB,
    memoryUsableBytes: 79.5 * GIB,
    temperatureCelsius: 30 + (round % 40),
    powerWatts: 90 + (round % 500),
    memoryTemperatureCelsius: 40 + (round % 30),
    smClockMhz: 1980,
    memoryClockMhz: 2619,
    clocksEventReasons: 0,
    eccCorrectedTotal: 0,
    eccUncorrectedTotal: 0,
    remapPending: false,
    remapFailed: false,
    recoveryAction: 'none',
    health: 'ok',
  };
}

function engineReading(index: number, round: number): EngineReading {
  return {
    engine: `engine-${index}`,
    incarnation: 1,
    runningRequests: round % 64,
    waitingRequests: round % 3,
    kvCacheUsageRatio: (round % 89) / 100,
    generationTokensTotal: round * 500,
    relayedRequests: round % 64,
    gpuMemoryBytes: 60 * GIB,
    hostMemoryBytes: 4 * GIB,
    interTokenP50Ms: 12.5,
  };
}

export function helloMessage(shape: FleetShape, nodeName: string, sessionId: string): Hello {
  return {
    protocolVersion: LANE_PROTOCOL_VERSION,
    agentVersion: 'bench',
    nodeName,
    sessionId,
    gpus: indexes(shape.gpus).map((index) => ({ index, uuid: `GPU-${nodeName}-${index}`, name: 'simulated' })),
    gpuSource: 'nvml',
    laneCount: 1,
    engines: indexes(shape.engines).map((index) => ({
      engine: `engine-${index}`,
      incarnation: 1,
      state: 'ENGINE_STATE_READY',
      reason: 'serving',
      kind: 'ENGINE_KIND_VLLM',
      models: [{ id: `model-${index}`, capabilities: ['chat', 'completions'], contextTokens: 32_768 }],
    })),
  };
}

export function snapshotMessage(shape: FleetShape): Telemetry {
  return {
    snapshot: true,
    atMs: Date.now(),
    gpuSource: 'nvml',
    gpuSampleAgeMs: 300,
    host: { cpuUtilizationRatio: 0.1, memoryUsedBytes: 100 * GIB, loadAverage_1m: 3, diskFreeBytes: 900 * GIB },
    agent: { rssBytes: 130_000_000, loopLagP99Ms: 1, gcPauseMaxMs: 2 },
    gpus: indexes(shape.gpus).map((index) => gpuReading(index, 0)),
    engines: indexes(shape.engines).map((index) => engineReading(index, 0)),
  };
}

/** @param round which entries change, and to what */
export function deltaMessage(shape: FleetShape, round: number): Telemetry {
  const some = (count: number): number[] =>
    indexes(Math.min(shape.changing, count)).map((step) => (round + step) % count);
  return {
    atMs: Date.now(),
    gpuSampleAgeMs: 300,
    gpus: some(shape.gpus).map((index) => gpuReading(index, round)),
    engines: some(shape.engines).map((index) => engineReading(index, round)),
  };
}
