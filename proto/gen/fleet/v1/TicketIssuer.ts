// Original file: fleet/v1/fleet.proto

import type { TicketKey as _fleet_v1_TicketKey, TicketKey__Output as _fleet_v1_TicketKey__Output } from '../../fleet/v1/TicketKey.ts';

export interface TicketIssuer {
  'issuer'?: (string);
  'keys'?: (_fleet_v1_TicketKey)[];
  'maxBodyBytes'?: (number);
  'maxBodyDepth'?: (number);
  'allowedEngineFields'?: (string)[];
  'allowRemoteMedia'?: (boolean);
  'leaseMs'?: (number);
}

export interface TicketIssuer__Output {
  'issuer': (string);
  'keys': (_fleet_v1_TicketKey__Output)[];
  'maxBodyBytes': (number);
  'maxBodyDepth': (number);
  'allowedEngineFields': (string)[];
  'allowRemoteMedia': (boolean);
  'leaseMs': (number);
}
