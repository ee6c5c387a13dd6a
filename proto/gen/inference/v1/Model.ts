// Original file: inference/v1/inference.proto

import type { Long } from '@grpc/proto-loader';

export interface Model {
  'id'?: (string);
  'createdS'?: (number | string | Long);
  'ownedBy'?: (string);
  'contextTokens'?: (number);
  'capabilities'?: (string)[];
  'simulated'?: (boolean);
  'readyEngines'?: (number);
  '_contextTokens'?: "contextTokens";
}

export interface Model__Output {
  'id': (string);
  'createdS': (number);
  'ownedBy': (string);
  'contextTokens'?: (number);
  'capabilities': (string)[];
  'simulated': (boolean);
  'readyEngines': (number);
  '_contextTokens'?: "contextTokens";
}
