// Original file: admin/v1/admin.proto

import type { Rollout as _admin_v1_Rollout, Rollout__Output as _admin_v1_Rollout__Output } from '../../admin/v1/Rollout.ts';

export interface GetRolloutResponse {
  'rollout'?: (_admin_v1_Rollout | null);
}

export interface GetRolloutResponse__Output {
  'rollout': (_admin_v1_Rollout__Output | null);
}
