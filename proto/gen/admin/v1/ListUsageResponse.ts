// Original file: admin/v1/admin.proto

import type { UsageRow as _admin_v1_UsageRow, UsageRow__Output as _admin_v1_UsageRow__Output } from '../../admin/v1/UsageRow.ts';
import type { Long } from '@grpc/proto-loader';

export interface ListUsageResponse {
  'rows'?: (_admin_v1_UsageRow)[];
  'truncated'?: (boolean);
  'source'?: (string);
  'by'?: (string);
  'sinceMs'?: (number | string | Long);
  'untilMs'?: (number | string | Long);
  'unsettledRecords'?: (number | string | Long);
  'spooledBytes'?: (number | string | Long);
}

export interface ListUsageResponse__Output {
  'rows': (_admin_v1_UsageRow__Output)[];
  'truncated': (boolean);
  'source': (string);
  'by': (string);
  'sinceMs': (number);
  'untilMs': (number);
  'unsettledRecords': (number);
  'spooledBytes': (number);
}
