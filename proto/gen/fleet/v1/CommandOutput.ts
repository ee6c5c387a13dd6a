// Original file: fleet/v1/fleet.proto

import type { EngineEvent as _fleet_v1_EngineEvent, EngineEvent__Output as _fleet_v1_EngineEvent__Output } from '../../fleet/v1/EngineEvent.ts';

export interface CommandOutput {
  'id'?: (string);
  'data'?: (Buffer | Uint8Array | string);
  'journal'?: (_fleet_v1_EngineEvent)[];
}

export interface CommandOutput__Output {
  'id': (string);
  'data': (Buffer);
  'journal': (_fleet_v1_EngineEvent__Output)[];
}
