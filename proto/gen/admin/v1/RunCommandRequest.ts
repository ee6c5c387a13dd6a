// Original file: admin/v1/admin.proto

import type { Command as _fleet_v1_Command, Command__Output as _fleet_v1_Command__Output } from '../../fleet/v1/Command.ts';

export interface RunCommandRequest {
  'target'?: (string);
  'command'?: (_fleet_v1_Command | null);
}

export interface RunCommandRequest__Output {
  'target': (string);
  'command': (_fleet_v1_Command__Output | null);
}
