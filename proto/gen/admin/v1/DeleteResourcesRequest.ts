// Original file: admin/v1/admin.proto

import type { ResourceRef as _admin_v1_ResourceRef, ResourceRef__Output as _admin_v1_ResourceRef__Output } from '../../admin/v1/ResourceRef.ts';

export interface DeleteResourcesRequest {
  'resources'?: (_admin_v1_ResourceRef)[];
  'dryRun'?: (boolean);
  'reason'?: (string);
}

export interface DeleteResourcesRequest__Output {
  'resources': (_admin_v1_ResourceRef__Output)[];
  'dryRun': (boolean);
  'reason': (string);
}
