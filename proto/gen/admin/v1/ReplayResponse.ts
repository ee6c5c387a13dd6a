// Original file: admin/v1/admin.proto

import type { StateEntry as _admin_v1_StateEntry, StateEntry__Output as _admin_v1_StateEntry__Output } from '../../admin/v1/StateEntry.ts';
import type { Long } from '@grpc/proto-loader';

export interface ReplayResponse {
  'seq'?: (number | string | Long);
  'atMs'?: (number | string | Long);
  'entries'?: (_admin_v1_StateEntry)[];
  'truncated'?: (boolean);
}

export interface ReplayResponse__Output {
  'seq': (number);
  'atMs': (number);
  'entries': (_admin_v1_StateEntry__Output)[];
  'truncated': (boolean);
}
