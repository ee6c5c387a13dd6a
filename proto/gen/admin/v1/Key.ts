// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface Key {
  'id'?: (string);
  'name'?: (string);
  'tenant'?: (string);
  'roles'?: (string)[];
  'createdAtMs'?: (number | string | Long);
  'expiresAtMs'?: (number | string | Long);
  'revokedAtMs'?: (number | string | Long);
  'weight'?: (number);
  '_expiresAtMs'?: "expiresAtMs";
  '_revokedAtMs'?: "revokedAtMs";
}

export interface Key__Output {
  'id': (string);
  'name': (string);
  'tenant': (string);
  'roles': (string)[];
  'createdAtMs': (number);
  'expiresAtMs'?: (number);
  'revokedAtMs'?: (number);
  'weight': (number);
  '_expiresAtMs'?: "expiresAtMs";
  '_revokedAtMs'?: "revokedAtMs";
}
