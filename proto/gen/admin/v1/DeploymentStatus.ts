// Original file: admin/v1/admin.proto

import type { Replica as _admin_v1_Replica, Replica__Output as _admin_v1_Replica__Output } from '../../admin/v1/Replica.ts';
import type { Long } from '@grpc/proto-loader';

export interface DeploymentStatus {
  'observedVersion'?: (number | string | Long);
  'wanted'?: (number);
  'ready'?: (number);
  'replicas'?: (_admin_v1_Replica)[];
  'rollout'?: (string);
  'memory'?: (string);
  '_rollout'?: "rollout";
  '_memory'?: "memory";
}

export interface DeploymentStatus__Output {
  'observedVersion': (number);
  'wanted': (number);
  'ready': (number);
  'replicas': (_admin_v1_Replica__Output)[];
  'rollout'?: (string);
  'memory'?: (string);
  '_rollout'?: "rollout";
  '_memory'?: "memory";
}
