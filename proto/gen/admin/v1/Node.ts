// Original file: admin/v1/admin.proto

import type { HostFacts as _fleet_v1_HostFacts, HostFacts__Output as _fleet_v1_HostFacts__Output } from '../../fleet/v1/HostFacts.ts';
import type { GpuFacts as _fleet_v1_GpuFacts, GpuFacts__Output as _fleet_v1_GpuFacts__Output } from '../../fleet/v1/GpuFacts.ts';
import type { Telemetry as _fleet_v1_Telemetry, Telemetry__Output as _fleet_v1_Telemetry__Output } from '../../fleet/v1/Telemetry.ts';
import type { SpecRejection as _fleet_v1_SpecRejection, SpecRejection__Output as _fleet_v1_SpecRejection__Output } from '../../fleet/v1/SpecRejection.ts';
import type { GpuEvent as _fleet_v1_GpuEvent, GpuEvent__Output as _fleet_v1_GpuEvent__Output } from '../../fleet/v1/GpuEvent.ts';
import type { NodeEvent as _fleet_v1_NodeEvent, NodeEvent__Output as _fleet_v1_NodeEvent__Output } from '../../fleet/v1/NodeEvent.ts';
import type { NodeDeclaration as _admin_v1_NodeDeclaration, NodeDeclaration__Output as _admin_v1_NodeDeclaration__Output } from '../../admin/v1/NodeDeclaration.ts';
import type { Long } from '@grpc/proto-loader';

export interface Node {
  'name'?: (string);
  'connected'?: (boolean);
  'agentVersion'?: (string);
  'connectedAtMs'?: (number | string | Long);
  'lastSeenMs'?: (number | string | Long);
  'host'?: (_fleet_v1_HostFacts | null);
  'gpus'?: (_fleet_v1_GpuFacts)[];
  'telemetry'?: (_fleet_v1_Telemetry | null);
  'lanes'?: (number);
  'desiredGeneration'?: (number | string | Long);
  'observedGeneration'?: (number | string | Long);
  'rejections'?: (_fleet_v1_SpecRejection)[];
  'gpuEvents'?: (_fleet_v1_GpuEvent)[];
  'nodeEvent'?: (_fleet_v1_NodeEvent | null);
  'declared'?: (_admin_v1_NodeDeclaration | null);
  '_connectedAtMs'?: "connectedAtMs";
  '_lastSeenMs'?: "lastSeenMs";
  '_desiredGeneration'?: "desiredGeneration";
  '_observedGeneration'?: "observedGeneration";
}

export interface Node__Output {
  'name': (string);
  'connected': (boolean);
  'agentVersion': (string);
  'connectedAtMs'?: (number);
  'lastSeenMs'?: (number);
  'host': (_fleet_v1_HostFacts__Output | null);
  'gpus': (_fleet_v1_GpuFacts__Output)[];
  'telemetry': (_fleet_v1_Telemetry__Output | null);
  'lanes': (number);
  'desiredGeneration'?: (number);
  'observedGeneration'?: (number);
  'rejections': (_fleet_v1_SpecRejection__Output)[];
  'gpuEvents': (_fleet_v1_GpuEvent__Output)[];
  'nodeEvent': (_fleet_v1_NodeEvent__Output | null);
  'declared': (_admin_v1_NodeDeclaration__Output | null);
  '_connectedAtMs'?: "connectedAtMs";
  '_lastSeenMs'?: "lastSeenMs";
  '_desiredGeneration'?: "desiredGeneration";
  '_observedGeneration'?: "observedGeneration";
}
