// Original file: fleet/v1/fleet.proto

import type { HostReading as _fleet_v1_HostReading, HostReading__Output as _fleet_v1_HostReading__Output } from '../../fleet/v1/HostReading.ts';
import type { GpuReading as _fleet_v1_GpuReading, GpuReading__Output as _fleet_v1_GpuReading__Output } from '../../fleet/v1/GpuReading.ts';
import type { EngineReading as _fleet_v1_EngineReading, EngineReading__Output as _fleet_v1_EngineReading__Output } from '../../fleet/v1/EngineReading.ts';
import type { Long } from '@grpc/proto-loader';

export interface Telemetry {
  'atMs'?: (number | string | Long);
  'host'?: (_fleet_v1_HostReading | null);
  'gpus'?: (_fleet_v1_GpuReading)[];
  'engines'?: (_fleet_v1_EngineReading)[];
  'gpuSource'?: (string);
  'gpuSampleAgeMs'?: (number | string | Long);
  '_atMs'?: "atMs";
  '_gpuSource'?: "gpuSource";
  '_gpuSampleAgeMs'?: "gpuSampleAgeMs";
}

export interface Telemetry__Output {
  'atMs'?: (number);
  'host': (_fleet_v1_HostReading__Output | null);
  'gpus': (_fleet_v1_GpuReading__Output)[];
  'engines': (_fleet_v1_EngineReading__Output)[];
  'gpuSource'?: (string);
  'gpuSampleAgeMs'?: (number);
  '_atMs'?: "atMs";
  '_gpuSource'?: "gpuSource";
  '_gpuSampleAgeMs'?: "gpuSampleAgeMs";
}
