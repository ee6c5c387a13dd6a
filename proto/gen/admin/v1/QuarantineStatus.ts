// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface QuarantineStatus {
  'source'?: (string);
  'node'?: (string);
  'gpu'?: (number);
  'uuid'?: (string);
  'untilMs'?: (number | string | Long);
  'replicas'?: (string)[];
  'note'?: (string);
  '_gpu'?: "gpu";
  '_uuid'?: "uuid";
  '_untilMs'?: "untilMs";
}

export interface QuarantineStatus__Output {
  'source': (string);
  'node': (string);
  'gpu'?: (number);
  'uuid'?: (string);
  'untilMs'?: (number);
  'replicas': (string)[];
  'note': (string);
  '_gpu'?: "gpu";
  '_uuid'?: "uuid";
  '_untilMs'?: "untilMs";
}
