// Original file: admin/v1/admin.proto

import type { Engine as _admin_v1_Engine, Engine__Output as _admin_v1_Engine__Output } from '../../admin/v1/Engine.ts';

export interface ListEnginesResponse {
  'engines'?: (_admin_v1_Engine)[];
}

export interface ListEnginesResponse__Output {
  'engines': (_admin_v1_Engine__Output)[];
}
