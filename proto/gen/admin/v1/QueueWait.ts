// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface QueueWait {
  'position'?: (number);
  'etaMs'?: (number);
  'waitedMs'?: (number | string | Long);
  '_position'?: "position";
  '_etaMs'?: "etaMs";
}

export interface QueueWait__Output {
  'position'?: (number);
  'etaMs'?: (number);
  'waitedMs': (number);
  '_position'?: "position";
  '_etaMs'?: "etaMs";
}
