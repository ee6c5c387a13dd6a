// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface Freeze {
  'frozen'?: (boolean);
  'by'?: (string);
  'sinceMs'?: (number | string | Long);
  'reason'?: (string);
  'gap'?: (string);
  '_gap'?: "gap";
}

export interface Freeze__Output {
  'frozen': (boolean);
  'by': (string);
  'sinceMs': (number);
  'reason': (string);
  'gap'?: (string);
  '_gap'?: "gap";
}
