// Original file: fleet/v1/fleet.proto

import type { GpuAction as _fleet_v1_GpuAction, GpuAction__Output as _fleet_v1_GpuAction__Output } from '../../fleet/v1/GpuAction.ts';
import type { Long } from '@grpc/proto-loader';

export interface GpuEvent {
  'index'?: (number);
  'uuid'?: (string);
  'kind'?: (string);
  'xid'?: (number);
  'action'?: (_fleet_v1_GpuAction);
  'quarantined'?: (boolean);
  'message'?: (string);
  'atMs'?: (number | string | Long);
  '_uuid'?: "uuid";
  '_xid'?: "xid";
  '_atMs'?: "atMs";
}

export interface GpuEvent__Output {
  'index': (number);
  'uuid'?: (string);
  'kind': (string);
  'xid'?: (number);
  'action': (_fleet_v1_GpuAction__Output);
  'quarantined': (boolean);
  'message': (string);
  'atMs'?: (number);
  '_uuid'?: "uuid";
  '_xid'?: "xid";
  '_atMs'?: "atMs";
}
