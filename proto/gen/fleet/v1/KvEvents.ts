// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface KvEvents {
  'engine'?: (string);
  'incarnation'?: (number);
  'seq'?: (number | string | Long);
  'snapshot'?: (boolean);
  'stored'?: (Buffer | Uint8Array | string);
  'removed'?: (Buffer | Uint8Array | string);
}

export interface KvEvents__Output {
  'engine': (string);
  'incarnation': (number);
  'seq': (number);
  'snapshot': (boolean);
  'stored': (Buffer);
  'removed': (Buffer);
}
