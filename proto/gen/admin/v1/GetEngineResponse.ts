// Original file: admin/v1/admin.proto

import type { Engine as _admin_v1_Engine, Engine__Output as _admin_v1_Engine__Output } from '../../admin/v1/Engine.ts';

export interface GetEngineResponse {
  'engine'?: (_admin_v1_Engine | null);
}

export interface GetEngineResponse__Output {
  'engine': (_admin_v1_Engine__Output | null);
}
