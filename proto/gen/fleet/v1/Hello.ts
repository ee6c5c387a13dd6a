// Original file: fleet/v1/fleet.proto

import type { HostFacts as _fleet_v1_HostFacts, HostFacts__Output as _fleet_v1_HostFacts__Output } from '../../fleet/v1/HostFacts.ts';
import type { GpuFacts as _fleet_v1_GpuFacts, GpuFacts__Output as _fleet_v1_GpuFacts__Output } from '../../fleet/v1/GpuFacts.ts';
import type { EngineEvent as _fleet_v1_EngineEvent, EngineEvent__Output as _fleet_v1_EngineEvent__Output } from '../../fleet/v1/EngineEvent.ts';
import type { GpuEvent as _fleet_v1_GpuEvent, GpuEvent__Output as _fleet_v1_GpuEvent__Output } from '../../fleet/v1/GpuEvent.ts';
import type { NodeEvent as _fleet_v1_NodeEvent, NodeEvent__Output as _fleet_v1_NodeEvent__Output } from '../../fleet/v1/NodeEvent.ts';
import type { Long } from '@grpc/proto-loader';

export interface Hello {
  'protocolVersion'?: (number);
  'agentVersion'?: (string);
  'nodeName'?: (string);
  'sessionId'?: (string);
  'host'?: (_fleet_v1_HostFacts | null);
  'gpus'?: (_fleet_v1_GpuFacts)[];
  'gpuSource'?: (string);
  'laneCount'?: (number);
  'observedGeneration'?: (number | string | Long);
  'observedTerm'?: (number | string | Long);
  'engines'?: (_fleet_v1_EngineEvent)[];
  'gpuEvents'?: (_fleet_v1_GpuEvent)[];
  'nodeEvent'?: (_fleet_v1_NodeEvent | null);
  '_observedGeneration'?: "observedGeneration";
  '_observedTerm'?: "observedTerm";
}

export interface Hello__Output {
  'protocolVersion': (number);
  'agentVersion': (string);
  'nodeName': (string);
  'sessionId': (string);
  'host': (_fleet_v1_HostFacts__Output | null);
  'gpus': (_fleet_v1_GpuFacts__Output)[];
  'gpuSource': (string);
  'laneCount': (number);
  'observedGeneration'?: (number);
  'observedTerm'?: (number);
  'engines': (_fleet_v1_EngineEvent__Output)[];
  'gpuEvents': (_fleet_v1_GpuEvent__Output)[];
  'nodeEvent': (_fleet_v1_NodeEvent__Output | null);
  '_observedGeneration'?: "observedGeneration";
  '_observedTerm'?: "observedTerm";
}
