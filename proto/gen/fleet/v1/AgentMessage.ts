// Original file: fleet/v1/fleet.proto

import type { Hello as _fleet_v1_Hello, Hello__Output as _fleet_v1_Hello__Output } from '../../fleet/v1/Hello.ts';
import type { Telemetry as _fleet_v1_Telemetry, Telemetry__Output as _fleet_v1_Telemetry__Output } from '../../fleet/v1/Telemetry.ts';
import type { EngineEvent as _fleet_v1_EngineEvent, EngineEvent__Output as _fleet_v1_EngineEvent__Output } from '../../fleet/v1/EngineEvent.ts';
import type { DesiredStateAck as _fleet_v1_DesiredStateAck, DesiredStateAck__Output as _fleet_v1_DesiredStateAck__Output } from '../../fleet/v1/DesiredStateAck.ts';
import type { Goodbye as _fleet_v1_Goodbye, Goodbye__Output as _fleet_v1_Goodbye__Output } from '../../fleet/v1/Goodbye.ts';
import type { Long } from '@grpc/proto-loader';

export interface AgentMessage {
  'seq'?: (number | string | Long);
  'hello'?: (_fleet_v1_Hello | null);
  'telemetry'?: (_fleet_v1_Telemetry | null);
  'engineEvent'?: (_fleet_v1_EngineEvent | null);
  'desiredStateAck'?: (_fleet_v1_DesiredStateAck | null);
  'goodbye'?: (_fleet_v1_Goodbye | null);
  'body'?: "hello"|"telemetry"|"engineEvent"|"desiredStateAck"|"goodbye";
}

export interface AgentMessage__Output {
  'seq': (number);
  'hello'?: (_fleet_v1_Hello__Output | null);
  'telemetry'?: (_fleet_v1_Telemetry__Output | null);
  'engineEvent'?: (_fleet_v1_EngineEvent__Output | null);
  'desiredStateAck'?: (_fleet_v1_DesiredStateAck__Output | null);
  'goodbye'?: (_fleet_v1_Goodbye__Output | null);
  'body'?: "hello"|"telemetry"|"engineEvent"|"desiredStateAck"|"goodbye";
}
