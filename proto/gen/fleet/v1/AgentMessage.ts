// Original file: fleet/v1/fleet.proto

import type { Hello as _fleet_v1_Hello, Hello__Output as _fleet_v1_Hello__Output } from '../../fleet/v1/Hello.ts';
import type { Telemetry as _fleet_v1_Telemetry, Telemetry__Output as _fleet_v1_Telemetry__Output } from '../../fleet/v1/Telemetry.ts';
import type { EngineEvent as _fleet_v1_EngineEvent, EngineEvent__Output as _fleet_v1_EngineEvent__Output } from '../../fleet/v1/EngineEvent.ts';
import type { DesiredStateAck as _fleet_v1_DesiredStateAck, DesiredStateAck__Output as _fleet_v1_DesiredStateAck__Output } from '../../fleet/v1/DesiredStateAck.ts';
import type { Goodbye as _fleet_v1_Goodbye, Goodbye__Output as _fleet_v1_Goodbye__Output } from '../../fleet/v1/Goodbye.ts';
import type { CommandOutput as _fleet_v1_CommandOutput, CommandOutput__Output as _fleet_v1_CommandOutput__Output } from '../../fleet/v1/CommandOutput.ts';
import type { CommandResult as _fleet_v1_CommandResult, CommandResult__Output as _fleet_v1_CommandResult__Output } from '../../fleet/v1/CommandResult.ts';
import type { GpuEvent as _fleet_v1_GpuEvent, GpuEvent__Output as _fleet_v1_GpuEvent__Output } from '../../fleet/v1/GpuEvent.ts';
import type { NodeEvent as _fleet_v1_NodeEvent, NodeEvent__Output as _fleet_v1_NodeEvent__Output } from '../../fleet/v1/NodeEvent.ts';
import type { DirectListener as _fleet_v1_DirectListener, DirectListener__Output as _fleet_v1_DirectListener__Output } from '../../fleet/v1/DirectListener.ts';
import type { DirectUse as _fleet_v1_DirectUse, DirectUse__Output as _fleet_v1_DirectUse__Output } from '../../fleet/v1/DirectUse.ts';
import type { KvEvents as _fleet_v1_KvEvents, KvEvents__Output as _fleet_v1_KvEvents__Output } from '../../fleet/v1/KvEvents.ts';
import type { ModelListener as _fleet_v1_ModelListener, ModelListener__Output as _fleet_v1_ModelListener__Output } from '../../fleet/v1/ModelListener.ts';
import type { Long } from '@grpc/proto-loader';

export interface AgentMessage {
  'seq'?: (number | string | Long);
  'hello'?: (_fleet_v1_Hello | null);
  'telemetry'?: (_fleet_v1_Telemetry | null);
  'engineEvent'?: (_fleet_v1_EngineEvent | null);
  'desiredStateAck'?: (_fleet_v1_DesiredStateAck | null);
  'goodbye'?: (_fleet_v1_Goodbye | null);
  'commandOutput'?: (_fleet_v1_CommandOutput | null);
  'commandResult'?: (_fleet_v1_CommandResult | null);
  'gpuEvent'?: (_fleet_v1_GpuEvent | null);
  'nodeEvent'?: (_fleet_v1_NodeEvent | null);
  'directListener'?: (_fleet_v1_DirectListener | null);
  'directUse'?: (_fleet_v1_DirectUse | null);
  'kvEvents'?: (_fleet_v1_KvEvents | null);
  'modelListener'?: (_fleet_v1_ModelListener | null);
  'body'?: "hello"|"telemetry"|"engineEvent"|"desiredStateAck"|"goodbye"|"commandOutput"|"commandResult"|"gpuEvent"|"nodeEvent"|"directListener"|"directUse"|"kvEvents"|"modelListener";
}

export interface AgentMessage__Output {
  'seq': (number);
  'hello'?: (_fleet_v1_Hello__Output | null);
  'telemetry'?: (_fleet_v1_Telemetry__Output | null);
  'engineEvent'?: (_fleet_v1_EngineEvent__Output | null);
  'desiredStateAck'?: (_fleet_v1_DesiredStateAck__Output | null);
  'goodbye'?: (_fleet_v1_Goodbye__Output | null);
  'commandOutput'?: (_fleet_v1_CommandOutput__Output | null);
  'commandResult'?: (_fleet_v1_CommandResult__Output | null);
  'gpuEvent'?: (_fleet_v1_GpuEvent__Output | null);
  'nodeEvent'?: (_fleet_v1_NodeEvent__Output | null);
  'directListener'?: (_fleet_v1_DirectListener__Output | null);
  'directUse'?: (_fleet_v1_DirectUse__Output | null);
  'kvEvents'?: (_fleet_v1_KvEvents__Output | null);
  'modelListener'?: (_fleet_v1_ModelListener__Output | null);
  'body'?: "hello"|"telemetry"|"engineEvent"|"desiredStateAck"|"goodbye"|"commandOutput"|"commandResult"|"gpuEvent"|"nodeEvent"|"directListener"|"directUse"|"kvEvents"|"modelListener";
}
