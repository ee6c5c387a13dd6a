// Original file: admin/v1/admin.proto

import type { FieldChange as _admin_v1_FieldChange, FieldChange__Output as _admin_v1_FieldChange__Output } from '../../admin/v1/FieldChange.ts';
import type { Long } from '@grpc/proto-loader';

export interface ResourceOutcome {
  'kind'?: (string);
  'name'?: (string);
  'outcome'?: (string);
  'version'?: (number | string | Long);
  'changes'?: (_admin_v1_FieldChange)[];
  'notes'?: (string)[];
}

export interface ResourceOutcome__Output {
  'kind': (string);
  'name': (string);
  'outcome': (string);
  'version': (number);
  'changes': (_admin_v1_FieldChange__Output)[];
  'notes': (string)[];
}
