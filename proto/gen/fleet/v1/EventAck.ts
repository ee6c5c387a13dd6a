// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface EventAck {
  'seq'?: (number | string | Long);
}

export interface EventAck__Output {
  'seq': (number);
}
