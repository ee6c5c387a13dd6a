// Original file: admin/v1/admin.proto

import type { Model as _admin_v1_Model, Model__Output as _admin_v1_Model__Output } from '../../admin/v1/Model.ts';
import type { ModelFiles as _admin_v1_ModelFiles, ModelFiles__Output as _admin_v1_ModelFiles__Output } from '../../admin/v1/ModelFiles.ts';

export interface ListModelsResponse {
  'models'?: (_admin_v1_Model)[];
  'files'?: (_admin_v1_ModelFiles)[];
}

export interface ListModelsResponse__Output {
  'models': (_admin_v1_Model__Output)[];
  'files': (_admin_v1_ModelFiles__Output)[];
}
