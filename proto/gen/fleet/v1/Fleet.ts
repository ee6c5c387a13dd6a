// Original file: fleet/v1/fleet.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { AgentMessage as _fleet_v1_AgentMessage, AgentMessage__Output as _fleet_v1_AgentMessage__Output } from '../../fleet/v1/AgentMessage.ts';
import type { LaneBatch as _fleet_v1_LaneBatch, LaneBatch__Output as _fleet_v1_LaneBatch__Output } from '../../fleet/v1/LaneBatch.ts';
import type { SchedulerMessage as _fleet_v1_SchedulerMessage, SchedulerMessage__Output as _fleet_v1_SchedulerMessage__Output } from '../../fleet/v1/SchedulerMessage.ts';

export interface FleetClient extends grpc.Client {
  Lane(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_fleet_v1_LaneBatch, _fleet_v1_LaneBatch__Output>;
  Lane(options?: grpc.CallOptions): grpc.ClientDuplexStream<_fleet_v1_LaneBatch, _fleet_v1_LaneBatch__Output>;
  lane(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_fleet_v1_LaneBatch, _fleet_v1_LaneBatch__Output>;
  lane(options?: grpc.CallOptions): grpc.ClientDuplexStream<_fleet_v1_LaneBatch, _fleet_v1_LaneBatch__Output>;
  
  Session(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_fleet_v1_AgentMessage, _fleet_v1_SchedulerMessage__Output>;
  Session(options?: grpc.CallOptions): grpc.ClientDuplexStream<_fleet_v1_AgentMessage, _fleet_v1_SchedulerMessage__Output>;
  session(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_fleet_v1_AgentMessage, _fleet_v1_SchedulerMessage__Output>;
  session(options?: grpc.CallOptions): grpc.ClientDuplexStream<_fleet_v1_AgentMessage, _fleet_v1_SchedulerMessage__Output>;
  
}

export interface FleetHandlers extends grpc.UntypedServiceImplementation {
  Lane: grpc.handleBidiStreamingCall<_fleet_v1_LaneBatch__Output, _fleet_v1_LaneBatch>;
  
  Session: grpc.handleBidiStreamingCall<_fleet_v1_AgentMessage__Output, _fleet_v1_SchedulerMessage>;
  
}

export interface FleetDefinition extends grpc.ServiceDefinition {
  Lane: MethodDefinition<_fleet_v1_LaneBatch, _fleet_v1_LaneBatch, _fleet_v1_LaneBatch__Output, _fleet_v1_LaneBatch__Output>
  Session: MethodDefinition<_fleet_v1_AgentMessage, _fleet_v1_SchedulerMessage, _fleet_v1_AgentMessage__Output, _fleet_v1_SchedulerMessage__Output>
}
