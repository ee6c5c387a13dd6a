// Original file: admin/v1/admin.proto

import type { ResourceOutcome as _admin_v1_ResourceOutcome, ResourceOutcome__Output as _admin_v1_ResourceOutcome__Output } from '../../admin/v1/ResourceOutcome.ts';

export interface PlanResourcesResponse {
  'lines'?: (string)[];
  'assignments'?: (number);
  'preemptions'?: (number);
  'stops'?: (number);
  'pending'?: (number);
  'outcomes'?: (_admin_v1_ResourceOutcome)[];
}

export interface PlanResourcesResponse__Output {
  'lines': (string)[];
  'assignments': (number);
  'preemptions': (number);
  'stops': (number);
  'pending': (number);
  'outcomes': (_admin_v1_ResourceOutcome__Output)[];
}
