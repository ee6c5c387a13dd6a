// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface ServedModel {
  'id'?: (string);
  'contextTokens'?: (number);
  'capabilities'?: (string)[];
  'createdS'?: (number | string | Long);
  'ownedBy'?: (string);
  'simulated'?: (boolean);
  '_contextTokens'?: "contextTokens";
  '_createdS'?: "createdS";
  '_ownedBy'?: "ownedBy";
}

export interface ServedModel__Output {
  'id': (string);
  'contextTokens'?: (number);
  'capabilities': (string)[];
  'createdS'?: (number);
  'ownedBy'?: (string);
  'simulated': (boolean);
  '_contextTokens'?: "contextTokens";
  '_createdS'?: "createdS";
  '_ownedBy'?: "ownedBy";
}
