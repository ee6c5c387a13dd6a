// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface Event {
  'seq'?: (number | string | Long);
  'atMs'?: (number | string | Long);
  'kind'?: (string);
  'area'?: (string);
  'resourceKind'?: (string);
  'resourceName'?: (string);
  'actor'?: (string);
  'reason'?: (string);
  'correlationId'?: (string);
  'base'?: (number | string | Long);
  'beforeJson'?: (string);
  'afterJson'?: (string);
}

export interface Event__Output {
  'seq': (number);
  'atMs': (number);
  'kind': (string);
  'area': (string);
  'resourceKind': (string);
  'resourceName': (string);
  'actor': (string);
  'reason': (string);
  'correlationId': (string);
  'base': (number);
  'beforeJson': (string);
  'afterJson': (string);
}
