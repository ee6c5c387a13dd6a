// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface ListEventsRequest {
  'after'?: (number | string | Long);
  'follow'?: (boolean);
  'limit'?: (number);
  'kind'?: (string);
  'name'?: (string);
  '_after'?: "after";
}

export interface ListEventsRequest__Output {
  'after'?: (number);
  'follow': (boolean);
  'limit': (number);
  'kind': (string);
  'name': (string);
  '_after'?: "after";
}
