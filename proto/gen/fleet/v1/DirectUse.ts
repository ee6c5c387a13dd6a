// Original file: fleet/v1/fleet.proto

import type { DirectLease as _fleet_v1_DirectLease, DirectLease__Output as _fleet_v1_DirectLease__Output } from '../../fleet/v1/DirectLease.ts';

export interface DirectUse {
  'leases'?: (_fleet_v1_DirectLease)[];
}

export interface DirectUse__Output {
  'leases': (_fleet_v1_DirectLease__Output)[];
}
