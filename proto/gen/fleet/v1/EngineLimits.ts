// Original file: fleet/v1/fleet.proto


export interface EngineLimits {
  'startTimeoutMs'?: (number);
  'drainTimeoutMs'?: (number);
  'stopTimeoutMs'?: (number);
  'maxConcurrentRequests'?: (number);
  'maxRestarts'?: (number);
  '_startTimeoutMs'?: "startTimeoutMs";
  '_drainTimeoutMs'?: "drainTimeoutMs";
  '_stopTimeoutMs'?: "stopTimeoutMs";
  '_maxConcurrentRequests'?: "maxConcurrentRequests";
  '_maxRestarts'?: "maxRestarts";
}

export interface EngineLimits__Output {
  'startTimeoutMs'?: (number);
  'drainTimeoutMs'?: (number);
  'stopTimeoutMs'?: (number);
  'maxConcurrentRequests'?: (number);
  'maxRestarts'?: (number);
  '_startTimeoutMs'?: "startTimeoutMs";
  '_drainTimeoutMs'?: "drainTimeoutMs";
  '_stopTimeoutMs'?: "stopTimeoutMs";
  '_maxConcurrentRequests'?: "maxConcurrentRequests";
  '_maxRestarts'?: "maxRestarts";
}
