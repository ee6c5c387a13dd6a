// Original file: fleet/v1/fleet.proto

import type { CheckVerdict as _fleet_v1_CheckVerdict, CheckVerdict__Output as _fleet_v1_CheckVerdict__Output } from '../../fleet/v1/CheckVerdict.ts';

export interface PreflightCheck {
  'name'?: (string);
  'verdict'?: (_fleet_v1_CheckVerdict);
  'detail'?: (string);
}

export interface PreflightCheck__Output {
  'name': (string);
  'verdict': (_fleet_v1_CheckVerdict__Output);
  'detail': (string);
}
