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
  'gpuMemoryBytes'?: (number | string | Long);
  'hostMemoryBytes'?: (number | string | Long);
  'interTokenP50Ms'?: (number | string);
  'silentMs'?: (number | string | Long);
  'sleeping'?: (boolean);
  'kvCacheTokens'?: (number | string | Long);
  'weightsBytes'?: (number | string | Long);
  'kvCacheBytes'?: (number | string | Long);
  'activationBytes'?: (number | string | Long);
  '_runningRequests'?: "runningRequests";
  '_waitingRequests'?: "waitingRequests";
  '_kvCacheUsageRatio'?: "kvCacheUsageRatio";
  '_generationTokensTotal'?: "generationTokensTotal";
  '_relayedRequests'?: "relayedRequests";
  '_gpuMemoryBytes'?: "gpuMemoryBytes";
  '_hostMemoryBytes'?: "hostMemoryBytes";
  '_interTokenP50Ms'?: "interTokenP50Ms";
  '_silentMs'?: "silentMs";
  '_sleeping'?: "sleeping";
  '_kvCacheTokens'?: "kvCacheTokens";
  '_weightsBytes'?: "weightsBytes";
  '_kvCacheBytes'?: "kvCacheBytes";
  '_activationBytes'?: "activationBytes";
}

export interface EngineReading__Output {
  'engine': (string);
  'incarnation': (number);
  'runningRequests'?: (number);
  'waitingRequests'?: (number);
  'kvCacheUsageRatio'?: (number);
  'generationTokensTotal'?: (number);
  'relayedRequests'?: (number);
  'gpuMemoryBytes'?: (number);
  'hostMemoryBytes'?: (number);
  'interTokenP50Ms'?: (number);
  'silentMs'?: (number);
  'sleeping'?: (boolean);
  'kvCacheTokens'?: (number);
  'weightsBytes'?: (number);
  'kvCacheBytes'?: (number);
  'activationBytes'?: (number);
  '_runningRequests'?: "runningRequests";
  '_waitingRequests'?: "waitingRequests";
  '_kvCacheUsageRatio'?: "kvCacheUsageRatio";
  '_generationTokensTotal'?: "generationTokensTotal";
  '_relayedRequests'?: "relayedRequests";
  '_gpuMemoryBytes'?: "gpuMemoryBytes";
  '_hostMemoryBytes'?: "hostMemoryBytes";
  '_interTokenP50Ms'?: "interTokenP50Ms";
  '_silentMs'?: "silentMs";
  '_sleeping'?: "sleeping";
  '_kvCacheTokens'?: "kvCacheTokens";
  '_weightsBytes'?: "weightsBytes";
  '_kvCacheBytes'?: "kvCacheBytes";
  '_activationBytes'?: "activationBytes";
}
