// Original file: admin/v1/admin.proto

import type { Freeze as _admin_v1_Freeze, Freeze__Output as _admin_v1_Freeze__Output } from '../../admin/v1/Freeze.ts';

export interface LiftFreezeResponse {
  'freeze'?: (_admin_v1_Freeze | null);
}

export interface LiftFreezeResponse__Output {
  'freeze': (_admin_v1_Freeze__Output | null);
}
