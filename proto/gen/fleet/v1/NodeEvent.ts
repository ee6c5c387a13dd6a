// Original file: fleet/v1/fleet.proto

import type { DrainProgress as _fleet_v1_DrainProgress, DrainProgress__Output as _fleet_v1_DrainProgress__Output } from '../../fleet/v1/DrainProgress.ts';
import type { Long } from '@grpc/proto-loader';

export interface NodeEvent {
  'draining'?: (boolean);
  'drain'?: (_fleet_v1_DrainProgress | null);
  'atMs'?: (number | string | Long);
  '_atMs'?: "atMs";
}

export interface NodeEvent__Output {
  'draining': (boolean);
  'drain': (_fleet_v1_DrainProgress__Output | null);
  'atMs'?: (number);
  '_atMs'?: "atMs";
}
