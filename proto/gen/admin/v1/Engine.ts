// Original file: admin/v1/admin.proto

import type { EngineEvent as _fleet_v1_EngineEvent, EngineEvent__Output as _fleet_v1_EngineEvent__Output } from '../../fleet/v1/EngineEvent.ts';
import type { EngineReading as _fleet_v1_EngineReading, EngineReading__Output as _fleet_v1_EngineReading__Output } from '../../fleet/v1/EngineReading.ts';
import type { EngineRouting as _admin_v1_EngineRouting, EngineRouting__Output as _admin_v1_EngineRouting__Output } from '../../admin/v1/EngineRouting.ts';

export interface Engine {
  'node'?: (string);
  'event'?: (_fleet_v1_EngineEvent | null);
  'reading'?: (_fleet_v1_EngineReading | null);
  'runningRequests'?: (number);
  'routable'?: (boolean);
  'notRoutableReason'?: (string);
  'history'?: (_fleet_v1_EngineEvent)[];
  'gpuIds'?: (number)[];
  'routing'?: (_admin_v1_EngineRouting | null);
}

export interface Engine__Output {
  'node': (string);
  'event': (_fleet_v1_EngineEvent__Output | null);
  'reading': (_fleet_v1_EngineReading__Output | null);
  'runningRequests': (number);
  'routable': (boolean);
  'notRoutableReason': (string);
  'history': (_fleet_v1_EngineEvent__Output)[];
  'gpuIds': (number)[];
  'routing': (_admin_v1_EngineRouting__Output | null);
}
