// Original file: fleet/v1/fleet.proto

import type { CommandVerb as _fleet_v1_CommandVerb, CommandVerb__Output as _fleet_v1_CommandVerb__Output } from '../../fleet/v1/CommandVerb.ts';

export interface Command {
  'id'?: (string);
  'verb'?: (_fleet_v1_CommandVerb);
  'engine'?: (string);
  'gpu'?: (number);
  'actor'?: (string);
  'reason'?: (string);
  'sleepLevel'?: (number);
  'loraName'?: (string);
  'loraPath'?: (string);
  'tailLines'?: (number);
  'follow'?: (boolean);
  'targetId'?: (string);
  'creditBytes'?: (number);
  '_gpu'?: "gpu";
  '_sleepLevel'?: "sleepLevel";
  '_tailLines'?: "tailLines";
  '_creditBytes'?: "creditBytes";
}

export interface Command__Output {
  'id': (string);
  'verb': (_fleet_v1_CommandVerb__Output);
  'engine': (string);
  'gpu'?: (number);
  'actor': (string);
  'reason': (string);
  'sleepLevel'?: (number);
  'loraName': (string);
  'loraPath': (string);
  'tailLines'?: (number);
  'follow': (boolean);
  'targetId': (string);
  'creditBytes'?: (number);
  '_gpu'?: "gpu";
  '_sleepLevel'?: "sleepLevel";
  '_tailLines'?: "tailLines";
  '_creditBytes'?: "creditBytes";
}
