// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface GetStatusResponse {
  'schedulerId'?: (string);
  'version'?: (string);
  'term'?: (number | string | Long);
  'startedAtMs'?: (number | string | Long);
  'draining'?: (boolean);
  'nodes'?: (number);
  'readyEngines'?: (number);
  'runningRequests'?: (number);
}

export interface GetStatusResponse__Output {
  'schedulerId': (string);
  'version': (string);
  'term': (number);
  'startedAtMs': (number);
  'draining': (boolean);
  'nodes': (number);
  'readyEngines': (number);
  'runningRequests': (number);
}
