// Original file: admin/v1/admin.proto

import type { ModelReading as _fleet_v1_ModelReading, ModelReading__Output as _fleet_v1_ModelReading__Output } from '../../fleet/v1/ModelReading.ts';

export interface ModelFiles {
  'node'?: (string);
  'reading'?: (_fleet_v1_ModelReading | null);
}

export interface ModelFiles__Output {
  'node': (string);
  'reading': (_fleet_v1_ModelReading__Output | null);
}
