// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface CreateKeyRequest {
  'name'?: (string);
  'tenant'?: (string);
  'roles'?: (string)[];
  'expiresInS'?: (number | string | Long);
  'weight'?: (number);
  'reason'?: (string);
  '_expiresInS'?: "expiresInS";
  '_weight'?: "weight";
}

export interface CreateKeyRequest__Output {
  'name': (string);
  'tenant': (string);
  'roles': (string)[];
  'expiresInS'?: (number);
  'weight'?: (number);
  'reason': (string);
  '_expiresInS'?: "expiresInS";
  '_weight'?: "weight";
}
