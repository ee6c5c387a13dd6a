// Original file: admin/v1/admin.proto

import type { Event as _admin_v1_Event, Event__Output as _admin_v1_Event__Output } from '../../admin/v1/Event.ts';

export interface ListEventsResponse {
  'events'?: (_admin_v1_Event)[];
}

export interface ListEventsResponse__Output {
  'events': (_admin_v1_Event__Output)[];
}
