// Original file: inference/v1/inference.proto

import type { Long } from '@grpc/proto-loader';

export interface RouteResponse {
  'url'?: (string);
  'ticket'?: (string);
  'expiresAtMs'?: (number | string | Long);
  'requestId'?: (string);
  'engine'?: (string);
}

export interface RouteResponse__Output {
  'url': (string);
  'ticket': (string);
  'expiresAtMs': (number);
  'requestId': (string);
  'engine': (string);
}
