// Original file: admin/v1/admin.proto

import type { Resource as _admin_v1_Resource, Resource__Output as _admin_v1_Resource__Output } from '../../admin/v1/Resource.ts';

export interface ListResourcesResponse {
  'resources'?: (_admin_v1_Resource)[];
}

export interface ListResourcesResponse__Output {
  'resources': (_admin_v1_Resource__Output)[];
}
