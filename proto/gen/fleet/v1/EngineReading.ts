// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface EngineReading {
  'engine'?: (string);
  'incarnation'?: (number);
  'runningRequests'?: (number);
  'waitingRequests'?: (number);
  'kvCacheUsageRatio'?: (number | string);
  'generationTokensTotal'?: (number | string | Long);
  'relayedRequests'?: (number);
  '_runningRequests'?: "runningRequests";
  '_waitingRequests'?: "waitingRequests";
  '_kvCacheUsageRatio'?: "kvCacheUsageRatio";
  '_generationTokensTotal'?: "generationTokensTotal";
  '_relayedRequests'?: "relayedRequests";
}

export interface EngineReading__Output {
  'engine': (string);
  'incarnation': (number);
  'runningRequests'?: (number);
  'waitingRequests'?: (number);
  'kvCacheUsageRatio'?: (number);
  'generationTokensTotal'?: (number);
  'relayedRequests'?: (number);
  '_runningRequests'?: "runningRequests";
  '_waitingRequests'?: "waitingRequests";
  '_kvCacheUsageRatio'?: "kvCacheUsageRatio";
  '_generationTokensTotal'?: "generationTokensTotal";
  '_relayedRequests'?: "relayedRequests";
}
