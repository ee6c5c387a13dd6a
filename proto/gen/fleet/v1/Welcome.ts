// Original file: fleet/v1/fleet.proto


export interface Welcome {
  'schedulerId'?: (string);
  'schedulerVersion'?: (string);
  'protocolVersion'?: (number);
  'telemetryPeriodMs'?: (number);
}

export interface Welcome__Output {
  'schedulerId': (string);
  'schedulerVersion': (string);
  'protocolVersion': (number);
  'telemetryPeriodMs': (number);
}
