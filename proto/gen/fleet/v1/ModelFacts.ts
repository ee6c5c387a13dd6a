// Original file: fleet/v1/fleet.proto

import type { ModelShape as _fleet_v1_ModelShape, ModelShape__Output as _fleet_v1_ModelShape__Output } from '../../fleet/v1/ModelShape.ts';
import type { Long } from '@grpc/proto-loader';

export interface ModelFacts {
  'weightBytes'?: (number | string | Long);
  'shape'?: (_fleet_v1_ModelShape | null);
  'problem'?: (string);
  '_weightBytes'?: "weightBytes";
}

export interface ModelFacts__Output {
  'weightBytes'?: (number);
  'shape': (_fleet_v1_ModelShape__Output | null);
  'problem': (string);
  '_weightBytes'?: "weightBytes";
}
