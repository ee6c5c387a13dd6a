// Original file: admin/v1/admin.proto

import type { EngineVerdict as _admin_v1_EngineVerdict, EngineVerdict__Output as _admin_v1_EngineVerdict__Output } from '../../admin/v1/EngineVerdict.ts';

export interface ExplainDeploymentResponse {
  'model'?: (string);
  'engines'?: (_admin_v1_EngineVerdict)[];
  'lines'?: (string)[];
}

export interface ExplainDeploymentResponse__Output {
  'model': (string);
  'engines': (_admin_v1_EngineVerdict__Output)[];
  'lines': (string)[];
}
