// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface MoveCost {
  'starts'?: (number);
  'fetches'?: (number);
  'gpuMemoryTwiceBytes'?: (number | string | Long);
}

export interface MoveCost__Output {
  'starts': (number);
  'fetches': (number);
  'gpuMemoryTwiceBytes': (number);
}
