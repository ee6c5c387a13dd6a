// Original file: admin/v1/admin.proto

import type { Resource as _admin_v1_Resource, Resource__Output as _admin_v1_Resource__Output } from '../../admin/v1/Resource.ts';
import type { Event as _admin_v1_Event, Event__Output as _admin_v1_Event__Output } from '../../admin/v1/Event.ts';

export interface DescribeResourceResponse {
  'resource'?: (_admin_v1_Resource | null);
  'statusNote'?: (string);
  'notes'?: (string)[];
  'events'?: (_admin_v1_Event)[];
}

export interface DescribeResourceResponse__Output {
  'resource': (_admin_v1_Resource__Output | null);
  'statusNote': (string);
  'notes': (string)[];
  'events': (_admin_v1_Event__Output)[];
}
