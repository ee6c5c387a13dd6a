// Original file: fleet/v1/fleet.proto

import type { ModelFacts as _fleet_v1_ModelFacts, ModelFacts__Output as _fleet_v1_ModelFacts__Output } from '../../fleet/v1/ModelFacts.ts';
import type { Long } from '@grpc/proto-loader';

export interface ModelReading {
  'source'?: (string);
  'state'?: (string);
  'totalBytes'?: (number | string | Long);
  'presentBytes'?: (number | string | Long);
  'bytesPerSecond'?: (number | string);
  'etaMs'?: (number | string | Long);
  'message'?: (string);
  'resolved'?: (string);
  'wanted'?: (boolean);
  'facts'?: (_fleet_v1_ModelFacts | null);
  'peers'?: (string);
  'peerBytes'?: (number | string | Long);
  '_totalBytes'?: "totalBytes";
  '_presentBytes'?: "presentBytes";
  '_bytesPerSecond'?: "bytesPerSecond";
  '_etaMs'?: "etaMs";
  '_peerBytes'?: "peerBytes";
}

export interface ModelReading__Output {
  'source': (string);
  'state': (string);
  'totalBytes'?: (number);
  'presentBytes'?: (number);
  'bytesPerSecond'?: (number);
  'etaMs'?: (number);
  'message': (string);
  'resolved': (string);
  'wanted': (boolean);
  'facts': (_fleet_v1_ModelFacts__Output | null);
  'peers': (string);
  'peerBytes'?: (number);
  '_totalBytes'?: "totalBytes";
  '_presentBytes'?: "presentBytes";
  '_bytesPerSecond'?: "bytesPerSecond";
  '_etaMs'?: "etaMs";
  '_peerBytes'?: "peerBytes";
}
