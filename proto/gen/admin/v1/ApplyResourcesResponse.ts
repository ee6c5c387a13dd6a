// Original file: admin/v1/admin.proto

import type { ResourceOutcome as _admin_v1_ResourceOutcome, ResourceOutcome__Output as _admin_v1_ResourceOutcome__Output } from '../../admin/v1/ResourceOutcome.ts';
import type { Long } from '@grpc/proto-loader';

export interface ApplyResourcesResponse {
  'outcomes'?: (_admin_v1_ResourceOutcome)[];
  'seq'?: (number | string | Long);
  'correlationId'?: (string);
}

export interface ApplyResourcesResponse__Output {
  'outcomes': (_admin_v1_ResourceOutcome__Output)[];
  'seq': (number);
  'correlationId': (string);
}
