// Original file: fleet/v1/fleet.proto

import type { HostReading as _fleet_v1_HostReading, HostReading__Output as _fleet_v1_HostReading__Output } from '../../fleet/v1/HostReading.ts';
import type { GpuReading as _fleet_v1_GpuReading, GpuReading__Output as _fleet_v1_GpuReading__Output } from '../../fleet/v1/GpuReading.ts';
import type { EngineReading as _fleet_v1_EngineReading, EngineReading__Output as _fleet_v1_EngineReading__Output } from '../../fleet/v1/EngineReading.ts';
import type { AgentReading as _fleet_v1_AgentReading, AgentReading__Output as _fleet_v1_AgentReading__Output } from '../../fleet/v1/AgentReading.ts';
import type { ModelReading as _fleet_v1_ModelReading, ModelReading__Output as _fleet_v1_ModelReading__Output } from '../../fleet/v1/ModelReading.ts';
import type { Long } from '@grpc/proto-loader';

export interface Telemetry {
  'atMs'?: (number | string | Long);
  'host'?: (_fleet_v1_HostReading | null);
  'gpus'?: (_fleet_v1_GpuReading)[];
  'engines'?: (_fleet_v1_EngineReading)[];
  'gpuSource'?: (string);
  'gpuSampleAgeMs'?: (number | string | Long);
  'snapshot'?: (boolean);
  'goneGpus'?: (number)[];
  'goneEngines'?: (string)[];
  'gpuReason'?: (string);
  'agent'?: (_fleet_v1_AgentReading | null);
  'models'?: (_fleet_v1_ModelReading)[];
  'goneModels'?: (string)[];
  '_atMs'?: "atMs";
  '_gpuSource'?: "gpuSource";
  '_gpuSampleAgeMs'?: "gpuSampleAgeMs";
  '_gpuReason'?: "gpuReason";
}

export interface Telemetry__Output {
  'atMs'?: (number);
  'host': (_fleet_v1_HostReading__Output | null);
  'gpus': (_fleet_v1_GpuReading__Output)[];
  'engines': (_fleet_v1_EngineReading__Output)[];
  'gpuSource'?: (string);
  'gpuSampleAgeMs'?: (number);
  'snapshot': (boolean);
  'goneGpus': (number)[];
  'goneEngines': (string)[];
  'gpuReason'?: (string);
  'agent': (_fleet_v1_AgentReading__Output | null);
  'models': (_fleet_v1_ModelReading__Output)[];
  'goneModels': (string)[];
  '_atMs'?: "atMs";
  '_gpuSource'?: "gpuSource";
  '_gpuSampleAgeMs'?: "gpuSampleAgeMs";
  '_gpuReason'?: "gpuReason";
}
