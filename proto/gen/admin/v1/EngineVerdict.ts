// Original file: admin/v1/admin.proto

import type { EngineState as _fleet_v1_EngineState, EngineState__Output as _fleet_v1_EngineState__Output } from '../../fleet/v1/EngineState.ts';

export interface EngineVerdict {
  'engine'?: (string);
  'state'?: (_fleet_v1_EngineState);
  'verdict'?: (string);
}

export interface EngineVerdict__Output {
  'engine': (string);
  'state': (_fleet_v1_EngineState__Output);
  'verdict': (string);
}
