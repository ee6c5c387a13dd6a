// Original file: admin/v1/admin.proto

import type { CostPart as _admin_v1_CostPart, CostPart__Output as _admin_v1_CostPart__Output } from '../../admin/v1/CostPart.ts';

export interface Candidate {
  'engine'?: (string);
  'picked'?: (boolean);
  'refusedBy'?: (string);
  'detail'?: (string);
  'cost'?: (number | string);
  'parts'?: (_admin_v1_CostPart)[];
  '_cost'?: "cost";
}

export interface Candidate__Output {
  'engine': (string);
  'picked': (boolean);
  'refusedBy': (string);
  'detail': (string);
  'cost'?: (number);
  'parts': (_admin_v1_CostPart__Output)[];
  '_cost'?: "cost";
}
