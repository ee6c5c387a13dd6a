// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface ListUsageRequest {
  'by'?: (string);
  'sinceMs'?: (number | string | Long);
  'untilMs'?: (number | string | Long);
  '_sinceMs'?: "sinceMs";
  '_untilMs'?: "untilMs";
}

export interface ListUsageRequest__Output {
  'by': (string);
  'sinceMs'?: (number);
  'untilMs'?: (number);
  '_sinceMs'?: "sinceMs";
  '_untilMs'?: "untilMs";
}
