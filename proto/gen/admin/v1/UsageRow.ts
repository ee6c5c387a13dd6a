// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface UsageRow {
  'periodMs'?: (number | string | Long);
  'tenant'?: (string);
  'key'?: (string);
  'model'?: (string);
  'outcome'?: (string);
  'servedBy'?: (string);
  'requests'?: (number | string | Long);
  'untold'?: (number | string | Long);
  'promptTokens'?: (number | string | Long);
  'cachedTokens'?: (number | string | Long);
  'completionTokens'?: (number | string | Long);
}

export interface UsageRow__Output {
  'periodMs': (number);
  'tenant': (string);
  'key': (string);
  'model': (string);
  'outcome': (string);
  'servedBy': (string);
  'requests': (number);
  'untold': (number);
  'promptTokens': (number);
  'cachedTokens': (number);
  'completionTokens': (number);
}
