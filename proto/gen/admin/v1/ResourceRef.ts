// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface ResourceRef {
  'kind'?: (string);
  'name'?: (string);
  'version'?: (number | string | Long);
  '_version'?: "version";
}

export interface ResourceRef__Output {
  'kind': (string);
  'name': (string);
  'version'?: (number);
  '_version'?: "version";
}
