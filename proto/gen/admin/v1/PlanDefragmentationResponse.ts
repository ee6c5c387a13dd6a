// Original file: admin/v1/admin.proto

import type { PlannedMove as _admin_v1_PlannedMove, PlannedMove__Output as _admin_v1_PlannedMove__Output } from '../../admin/v1/PlannedMove.ts';
import type { Wholeness as _admin_v1_Wholeness, Wholeness__Output as _admin_v1_Wholeness__Output } from '../../admin/v1/Wholeness.ts';
import type { MoveCost as _admin_v1_MoveCost, MoveCost__Output as _admin_v1_MoveCost__Output } from '../../admin/v1/MoveCost.ts';

export interface PlanDefragmentationResponse {
  'lines'?: (string)[];
  'moves'?: (_admin_v1_PlannedMove)[];
  'before'?: (_admin_v1_Wholeness | null);
  'after'?: (_admin_v1_Wholeness | null);
  'cost'?: (_admin_v1_MoveCost | null);
  'plan'?: (string);
}

export interface PlanDefragmentationResponse__Output {
  'lines': (string)[];
  'moves': (_admin_v1_PlannedMove__Output)[];
  'before': (_admin_v1_Wholeness__Output | null);
  'after': (_admin_v1_Wholeness__Output | null);
  'cost': (_admin_v1_MoveCost__Output | null);
  'plan': (string);
}
