// Original file: fleet/v1/fleet.proto

import type { EngineSpec as _fleet_v1_EngineSpec, EngineSpec__Output as _fleet_v1_EngineSpec__Output } from '../../fleet/v1/EngineSpec.ts';
import type { Long } from '@grpc/proto-loader';

export interface DesiredState {
  'generation'?: (number | string | Long);
  'engines'?: (_fleet_v1_EngineSpec)[];
}

export interface DesiredState__Output {
  'generation': (number);
  'engines': (_fleet_v1_EngineSpec__Output)[];
}
