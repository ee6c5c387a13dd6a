// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface StateEntry {
  'area'?: (string);
  'kind'?: (string);
  'name'?: (string);
  'version'?: (number | string | Long);
  'valueJson'?: (string);
  'atMs'?: (number | string | Long);
  'actor'?: (string);
}

export interface StateEntry__Output {
  'area': (string);
  'kind': (string);
  'name': (string);
  'version': (number);
  'valueJson': (string);
  'atMs': (number);
  'actor': (string);
}
