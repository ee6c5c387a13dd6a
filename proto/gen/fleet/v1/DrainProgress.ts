// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface DrainProgress {
  'sinceMs'?: (number | string | Long);
  'runningRequests'?: (number);
  'etaMs'?: (number | string | Long);
  'actor'?: (string);
  'reason'?: (string);
  '_sinceMs'?: "sinceMs";
  '_runningRequests'?: "runningRequests";
  '_etaMs'?: "etaMs";
}

export interface DrainProgress__Output {
  'sinceMs'?: (number);
  'runningRequests'?: (number);
  'etaMs'?: (number);
  'actor': (string);
  'reason': (string);
  '_sinceMs'?: "sinceMs";
  '_runningRequests'?: "runningRequests";
  '_etaMs'?: "etaMs";
}
