// Original file: fleet/v1/fleet.proto

import type { SpecRejection as _fleet_v1_SpecRejection, SpecRejection__Output as _fleet_v1_SpecRejection__Output } from '../../fleet/v1/SpecRejection.ts';
import type { Long } from '@grpc/proto-loader';

export interface DesiredStateAck {
  'generation'?: (number | string | Long);
  'rejections'?: (_fleet_v1_SpecRejection)[];
}

export interface DesiredStateAck__Output {
  'generation': (number);
  'rejections': (_fleet_v1_SpecRejection__Output)[];
}
