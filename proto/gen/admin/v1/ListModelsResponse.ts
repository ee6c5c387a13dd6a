// Original file: admin/v1/admin.proto

import type { Model as _admin_v1_Model, Model__Output as _admin_v1_Model__Output } from '../../admin/v1/Model.ts';

export interface ListModelsResponse {
  'models'?: (_admin_v1_Model)[];
}

export interface ListModelsResponse__Output {
  'models': (_admin_v1_Model__Output)[];
}
