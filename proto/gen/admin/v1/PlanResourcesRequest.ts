// Original file: admin/v1/admin.proto

import type { ResourceRef as _admin_v1_ResourceRef, ResourceRef__Output as _admin_v1_ResourceRef__Output } from '../../admin/v1/ResourceRef.ts';

export interface PlanResourcesRequest {
  'resources'?: (string)[];
  'deleted'?: (_admin_v1_ResourceRef)[];
}

export interface PlanResourcesRequest__Output {
  'resources': (string)[];
  'deleted': (_admin_v1_ResourceRef__Output)[];
}
