// Original file: admin/v1/admin.proto

import type { CommandOutput as _fleet_v1_CommandOutput, CommandOutput__Output as _fleet_v1_CommandOutput__Output } from '../../fleet/v1/CommandOutput.ts';
import type { CommandResult as _fleet_v1_CommandResult, CommandResult__Output as _fleet_v1_CommandResult__Output } from '../../fleet/v1/CommandResult.ts';

export interface RunCommandResponse {
  'output'?: (_fleet_v1_CommandOutput | null);
  'result'?: (_fleet_v1_CommandResult | null);
  'part'?: "output"|"result";
}

export interface RunCommandResponse__Output {
  'output'?: (_fleet_v1_CommandOutput__Output | null);
  'result'?: (_fleet_v1_CommandResult__Output | null);
  'part'?: "output"|"result";
}
