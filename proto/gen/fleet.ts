import type * as grpc from '@grpc/grpc-js';
import type { EnumTypeDefinition, MessageTypeDefinition } from '@grpc/proto-loader';

import type { AgentMessage as _fleet_v1_AgentMessage, AgentMessage__Output as _fleet_v1_AgentMessage__Output } from './fleet/v1/AgentMessage.ts';
import type { AgentReading as _fleet_v1_AgentReading, AgentReading__Output as _fleet_v1_AgentReading__Output } from './fleet/v1/AgentReading.ts';
import type { Command as _fleet_v1_Command, Command__Output as _fleet_v1_Command__Output } from './fleet/v1/Command.ts';
import type { CommandOutput as _fleet_v1_CommandOutput, CommandOutput__Output as _fleet_v1_CommandOutput__Output } from './fleet/v1/CommandOutput.ts';
import type { CommandResult as _fleet_v1_CommandResult, CommandResult__Output as _fleet_v1_CommandResult__Output } from './fleet/v1/CommandResult.ts';
import type { DesiredState as _fleet_v1_DesiredState, DesiredState__Output as _fleet_v1_DesiredState__Output } from './fleet/v1/DesiredState.ts';
import type { DesiredStateAck as _fleet_v1_DesiredStateAck, DesiredStateAck__Output as _fleet_v1_DesiredStateAck__Output } from './fleet/v1/DesiredStateAck.ts';
import type { DirectLease as _fleet_v1_DirectLease, DirectLease__Output as _fleet_v1_DirectLease__Output } from './fleet/v1/DirectLease.ts';
import type { DirectListener as _fleet_v1_DirectListener, DirectListener__Output as _fleet_v1_DirectListener__Output } from './fleet/v1/DirectListener.ts';
import type { DirectUse as _fleet_v1_DirectUse, DirectUse__Output as _fleet_v1_DirectUse__Output } from './fleet/v1/DirectUse.ts';
import type { DrainProgress as _fleet_v1_DrainProgress, DrainProgress__Output as _fleet_v1_DrainProgress__Output } from './fleet/v1/DrainProgress.ts';
import type { EngineEvent as _fleet_v1_EngineEvent, EngineEvent__Output as _fleet_v1_EngineEvent__Output } from './fleet/v1/EngineEvent.ts';
import type { EngineLimits as _fleet_v1_EngineLimits, EngineLimits__Output as _fleet_v1_EngineLimits__Output } from './fleet/v1/EngineLimits.ts';
import type { EngineReading as _fleet_v1_EngineReading, EngineReading__Output as _fleet_v1_EngineReading__Output } from './fleet/v1/EngineReading.ts';
import type { EngineSpec as _fleet_v1_EngineSpec, EngineSpec__Output as _fleet_v1_EngineSpec__Output } from './fleet/v1/EngineSpec.ts';
import type { EventAck as _fleet_v1_EventAck, EventAck__Output as _fleet_v1_EventAck__Output } from './fleet/v1/EventAck.ts';
import type { FleetClient as _fleet_v1_FleetClient, FleetDefinition as _fleet_v1_FleetDefinition } from './fleet/v1/Fleet.ts';
import type { Goodbye as _fleet_v1_Goodbye, Goodbye__Output as _fleet_v1_Goodbye__Output } from './fleet/v1/Goodbye.ts';
import type { GpuEvent as _fleet_v1_GpuEvent, GpuEvent__Output as _fleet_v1_GpuEvent__Output } from './fleet/v1/GpuEvent.ts';
import type { GpuFacts as _fleet_v1_GpuFacts, GpuFacts__Output as _fleet_v1_GpuFacts__Output } from './fleet/v1/GpuFacts.ts';
import type { GpuReading as _fleet_v1_GpuReading, GpuReading__Output as _fleet_v1_GpuReading__Output } from './fleet/v1/GpuReading.ts';
import type { Hello as _fleet_v1_Hello, Hello__Output as _fleet_v1_Hello__Output } from './fleet/v1/Hello.ts';
import type { HostFacts as _fleet_v1_HostFacts, HostFacts__Output as _fleet_v1_HostFacts__Output } from './fleet/v1/HostFacts.ts';
import type { HostReading as _fleet_v1_HostReading, HostReading__Output as _fleet_v1_HostReading__Output } from './fleet/v1/HostReading.ts';
import type { KvEvents as _fleet_v1_KvEvents, KvEvents__Output as _fleet_v1_KvEvents__Output } from './fleet/v1/KvEvents.ts';
import type { LaneBatch as _fleet_v1_LaneBatch, LaneBatch__Output as _fleet_v1_LaneBatch__Output } from './fleet/v1/LaneBatch.ts';
import type { ModelFacts as _fleet_v1_ModelFacts, ModelFacts__Output as _fleet_v1_ModelFacts__Output } from './fleet/v1/ModelFacts.ts';
import type { ModelListener as _fleet_v1_ModelListener, ModelListener__Output as _fleet_v1_ModelListener__Output } from './fleet/v1/ModelListener.ts';
import type { ModelPeer as _fleet_v1_ModelPeer, ModelPeer__Output as _fleet_v1_ModelPeer__Output } from './fleet/v1/ModelPeer.ts';
import type { ModelPeerSet as _fleet_v1_ModelPeerSet, ModelPeerSet__Output as _fleet_v1_ModelPeerSet__Output } from './fleet/v1/ModelPeerSet.ts';
import type { ModelPeers as _fleet_v1_ModelPeers, ModelPeers__Output as _fleet_v1_ModelPeers__Output } from './fleet/v1/ModelPeers.ts';
import type { ModelReading as _fleet_v1_ModelReading, ModelReading__Output as _fleet_v1_ModelReading__Output } from './fleet/v1/ModelReading.ts';
import type { ModelShape as _fleet_v1_ModelShape, ModelShape__Output as _fleet_v1_ModelShape__Output } from './fleet/v1/ModelShape.ts';
import type { ModelSource as _fleet_v1_ModelSource, ModelSource__Output as _fleet_v1_ModelSource__Output } from './fleet/v1/ModelSource.ts';
import type { NodeEvent as _fleet_v1_NodeEvent, NodeEvent__Output as _fleet_v1_NodeEvent__Output } from './fleet/v1/NodeEvent.ts';
import type { PreflightCheck as _fleet_v1_PreflightCheck, PreflightCheck__Output as _fleet_v1_PreflightCheck__Output } from './fleet/v1/PreflightCheck.ts';
import type { SchedulerMessage as _fleet_v1_SchedulerMessage, SchedulerMessage__Output as _fleet_v1_SchedulerMessage__Output } from './fleet/v1/SchedulerMessage.ts';
import type { ServedModel as _fleet_v1_ServedModel, ServedModel__Output as _fleet_v1_ServedModel__Output } from './fleet/v1/ServedModel.ts';
import type { SpecRejection as _fleet_v1_SpecRejection, SpecRejection__Output as _fleet_v1_SpecRejection__Output } from './fleet/v1/SpecRejection.ts';
import type { Telemetry as _fleet_v1_Telemetry, Telemetry__Output as _fleet_v1_Telemetry__Output } from './fleet/v1/Telemetry.ts';
import type { TicketIssuer as _fleet_v1_TicketIssuer, TicketIssuer__Output as _fleet_v1_TicketIssuer__Output } from './fleet/v1/TicketIssuer.ts';
import type { TicketKey as _fleet_v1_TicketKey, TicketKey__Output as _fleet_v1_TicketKey__Output } from './fleet/v1/TicketKey.ts';
import type { Welcome as _fleet_v1_Welcome, Welcome__Output as _fleet_v1_Welcome__Output } from './fleet/v1/Welcome.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  fleet: {
    v1: {
      AgentMessage: MessageTypeDefinition<_fleet_v1_AgentMessage, _fleet_v1_AgentMessage__Output>
      AgentReading: MessageTypeDefinition<_fleet_v1_AgentReading, _fleet_v1_AgentReading__Output>
      CheckVerdict: EnumTypeDefinition
      Command: MessageTypeDefinition<_fleet_v1_Command, _fleet_v1_Command__Output>
      CommandOutput: MessageTypeDefinition<_fleet_v1_CommandOutput, _fleet_v1_CommandOutput__Output>
      CommandResult: MessageTypeDefinition<_fleet_v1_CommandResult, _fleet_v1_CommandResult__Output>
      CommandVerb: EnumTypeDefinition
      DesiredState: MessageTypeDefinition<_fleet_v1_DesiredState, _fleet_v1_DesiredState__Output>
      DesiredStateAck: MessageTypeDefinition<_fleet_v1_DesiredStateAck, _fleet_v1_DesiredStateAck__Output>
      DirectLease: MessageTypeDefinition<_fleet_v1_DirectLease, _fleet_v1_DirectLease__Output>
      DirectListener: MessageTypeDefinition<_fleet_v1_DirectListener, _fleet_v1_DirectListener__Output>
      DirectPhase: EnumTypeDefinition
      DirectUse: MessageTypeDefinition<_fleet_v1_DirectUse, _fleet_v1_DirectUse__Output>
      DrainProgress: MessageTypeDefinition<_fleet_v1_DrainProgress, _fleet_v1_DrainProgress__Output>
      EngineEvent: MessageTypeDefinition<_fleet_v1_EngineEvent, _fleet_v1_EngineEvent__Output>
      EngineKind: EnumTypeDefinition
      EngineLimits: MessageTypeDefinition<_fleet_v1_EngineLimits, _fleet_v1_EngineLimits__Output>
      EngineReading: MessageTypeDefinition<_fleet_v1_EngineReading, _fleet_v1_EngineReading__Output>
      EngineSpec: MessageTypeDefinition<_fleet_v1_EngineSpec, _fleet_v1_EngineSpec__Output>
      EngineState: EnumTypeDefinition
      EventAck: MessageTypeDefinition<_fleet_v1_EventAck, _fleet_v1_EventAck__Output>
      Fleet: SubtypeConstructor<typeof grpc.Client, _fleet_v1_FleetClient> & { service: _fleet_v1_FleetDefinition }
      Goodbye: MessageTypeDefinition<_fleet_v1_Goodbye, _fleet_v1_Goodbye__Output>
      GpuAction: EnumTypeDefinition
      GpuEvent: MessageTypeDefinition<_fleet_v1_GpuEvent, _fleet_v1_GpuEvent__Output>
      GpuFacts: MessageTypeDefinition<_fleet_v1_GpuFacts, _fleet_v1_GpuFacts__Output>
      GpuReading: MessageTypeDefinition<_fleet_v1_GpuReading, _fleet_v1_GpuReading__Output>
      Hello: MessageTypeDefinition<_fleet_v1_Hello, _fleet_v1_Hello__Output>
      HostFacts: MessageTypeDefinition<_fleet_v1_HostFacts, _fleet_v1_HostFacts__Output>
      HostReading: MessageTypeDefinition<_fleet_v1_HostReading, _fleet_v1_HostReading__Output>
      KvEvents: MessageTypeDefinition<_fleet_v1_KvEvents, _fleet_v1_KvEvents__Output>
      LaneBatch: MessageTypeDefinition<_fleet_v1_LaneBatch, _fleet_v1_LaneBatch__Output>
      ModelFacts: MessageTypeDefinition<_fleet_v1_ModelFacts, _fleet_v1_ModelFacts__Output>
      ModelListener: MessageTypeDefinition<_fleet_v1_ModelListener, _fleet_v1_ModelListener__Output>
      ModelPeer: MessageTypeDefinition<_fleet_v1_ModelPeer, _fleet_v1_ModelPeer__Output>
      ModelPeerSet: MessageTypeDefinition<_fleet_v1_ModelPeerSet, _fleet_v1_ModelPeerSet__Output>
      ModelPeers: MessageTypeDefinition<_fleet_v1_ModelPeers, _fleet_v1_ModelPeers__Output>
      ModelReading: MessageTypeDefinition<_fleet_v1_ModelReading, _fleet_v1_ModelReading__Output>
      ModelShape: MessageTypeDefinition<_fleet_v1_ModelShape, _fleet_v1_ModelShape__Output>
      ModelSource: MessageTypeDefinition<_fleet_v1_ModelSource, _fleet_v1_ModelSource__Output>
      NodeEvent: MessageTypeDefinition<_fleet_v1_NodeEvent, _fleet_v1_NodeEvent__Output>
      PreflightCheck: MessageTypeDefinition<_fleet_v1_PreflightCheck, _fleet_v1_PreflightCheck__Output>
      SchedulerMessage: MessageTypeDefinition<_fleet_v1_SchedulerMessage, _fleet_v1_SchedulerMessage__Output>
      ServedModel: MessageTypeDefinition<_fleet_v1_ServedModel, _fleet_v1_ServedModel__Output>
      SpecRejection: MessageTypeDefinition<_fleet_v1_SpecRejection, _fleet_v1_SpecRejection__Output>
      Telemetry: MessageTypeDefinition<_fleet_v1_Telemetry, _fleet_v1_Telemetry__Output>
      TicketIssuer: MessageTypeDefinition<_fleet_v1_TicketIssuer, _fleet_v1_TicketIssuer__Output>
      TicketKey: MessageTypeDefinition<_fleet_v1_TicketKey, _fleet_v1_TicketKey__Output>
      Welcome: MessageTypeDefinition<_fleet_v1_Welcome, _fleet_v1_Welcome__Output>
    }
  }
}

