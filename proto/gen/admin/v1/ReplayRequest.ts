// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface ReplayRequest {
  'seq'?: (number | string | Long);
  'atMs'?: (number | string | Long);
  'area'?: (string);
  'until'?: "seq"|"atMs";
}

export interface ReplayRequest__Output {
  'seq'?: (number);
  'atMs'?: (number);
  'area': (string);
  'until'?: "seq"|"atMs";
}
