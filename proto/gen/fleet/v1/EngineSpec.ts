// Original file: fleet/v1/fleet.proto

import type { EngineKind as _fleet_v1_EngineKind, EngineKind__Output as _fleet_v1_EngineKind__Output } from '../../fleet/v1/EngineKind.ts';
import type { EngineLimits as _fleet_v1_EngineLimits, EngineLimits__Output as _fleet_v1_EngineLimits__Output } from '../../fleet/v1/EngineLimits.ts';
import type { ModelSource as _fleet_v1_ModelSource, ModelSource__Output as _fleet_v1_ModelSource__Output } from '../../fleet/v1/ModelSource.ts';

export interface EngineSpec {
  'name'?: (string);
  'kind'?: (_fleet_v1_EngineKind);
  'model'?: (string);
  'servedModelName'?: (string);
  'gpuIds'?: (number)[];
  'extraFlags'?: (string)[];
  'environment'?: ({[key: string]: string});
  'unixSocket'?: (string);
  'tcpPort'?: (number);
  'limits'?: (_fleet_v1_EngineLimits | null);
  'modelSource'?: (_fleet_v1_ModelSource | null);
  'gpuMemoryShare'?: (number | string);
  '_unixSocket'?: "unixSocket";
  '_tcpPort'?: "tcpPort";
  '_modelSource'?: "modelSource";
  '_gpuMemoryShare'?: "gpuMemoryShare";
}

export interface EngineSpec__Output {
  'name': (string);
  'kind': (_fleet_v1_EngineKind__Output);
  'model': (string);
  'servedModelName': (string);
  'gpuIds': (number)[];
  'extraFlags': (string)[];
  'environment': ({[key: string]: string});
  'unixSocket'?: (string);
  'tcpPort'?: (number);
  'limits': (_fleet_v1_EngineLimits__Output | null);
  'modelSource'?: (_fleet_v1_ModelSource__Output | null);
  'gpuMemoryShare'?: (number);
  '_unixSocket'?: "unixSocket";
  '_tcpPort'?: "tcpPort";
  '_modelSource'?: "modelSource";
  '_gpuMemoryShare'?: "gpuMemoryShare";
}
