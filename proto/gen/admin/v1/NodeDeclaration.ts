// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface NodeDeclaration {
  'region'?: (string);
  'cordoned'?: (boolean);
  'draining'?: (boolean);
  'retired'?: (boolean);
  'taints'?: (string)[];
  'updatedAtMs'?: (number | string | Long);
  'updatedBy'?: (string);
  'reason'?: (string);
}

export interface NodeDeclaration__Output {
  'region': (string);
  'cordoned': (boolean);
  'draining': (boolean);
  'retired': (boolean);
  'taints': (string)[];
  'updatedAtMs': (number);
  'updatedBy': (string);
  'reason': (string);
}
