import type * as grpc from '@grpc/grpc-js';
import type { EnumTypeDefinition, MessageTypeDefinition } from '@grpc/proto-loader';

import type { AdminClient as _admin_v1_AdminClient, AdminDefinition as _admin_v1_AdminDefinition } from './admin/v1/Admin.ts';
import type { ApplyResourcesRequest as _admin_v1_ApplyResourcesRequest, ApplyResourcesRequest__Output as _admin_v1_ApplyResourcesRequest__Output } from './admin/v1/ApplyResourcesRequest.ts';
import type { ApplyResourcesResponse as _admin_v1_ApplyResourcesResponse, ApplyResourcesResponse__Output as _admin_v1_ApplyResourcesResponse__Output } from './admin/v1/ApplyResourcesResponse.ts';
import type { Candidate as _admin_v1_Candidate, Candidate__Output as _admin_v1_Candidate__Output } from './admin/v1/Candidate.ts';
import type { CostPart as _admin_v1_CostPart, CostPart__Output as _admin_v1_CostPart__Output } from './admin/v1/CostPart.ts';
import type { CreateKeyRequest as _admin_v1_CreateKeyRequest, CreateKeyRequest__Output as _admin_v1_CreateKeyRequest__Output } from './admin/v1/CreateKeyRequest.ts';
import type { CreateKeyResponse as _admin_v1_CreateKeyResponse, CreateKeyResponse__Output as _admin_v1_CreateKeyResponse__Output } from './admin/v1/CreateKeyResponse.ts';
import type { DeleteResourcesRequest as _admin_v1_DeleteResourcesRequest, DeleteResourcesRequest__Output as _admin_v1_DeleteResourcesRequest__Output } from './admin/v1/DeleteResourcesRequest.ts';
import type { DeleteResourcesResponse as _admin_v1_DeleteResourcesResponse, DeleteResourcesResponse__Output as _admin_v1_DeleteResourcesResponse__Output } from './admin/v1/DeleteResourcesResponse.ts';
import type { DeploymentStatus as _admin_v1_DeploymentStatus, DeploymentStatus__Output as _admin_v1_DeploymentStatus__Output } from './admin/v1/DeploymentStatus.ts';
import type { DescribeResourceRequest as _admin_v1_DescribeResourceRequest, DescribeResourceRequest__Output as _admin_v1_DescribeResourceRequest__Output } from './admin/v1/DescribeResourceRequest.ts';
import type { DescribeResourceResponse as _admin_v1_DescribeResourceResponse, DescribeResourceResponse__Output as _admin_v1_DescribeResourceResponse__Output } from './admin/v1/DescribeResourceResponse.ts';
import type { Engine as _admin_v1_Engine, Engine__Output as _admin_v1_Engine__Output } from './admin/v1/Engine.ts';
import type { EngineRouting as _admin_v1_EngineRouting, EngineRouting__Output as _admin_v1_EngineRouting__Output } from './admin/v1/EngineRouting.ts';
import type { EngineStatus as _admin_v1_EngineStatus, EngineStatus__Output as _admin_v1_EngineStatus__Output } from './admin/v1/EngineStatus.ts';
import type { EngineVerdict as _admin_v1_EngineVerdict, EngineVerdict__Output as _admin_v1_EngineVerdict__Output } from './admin/v1/EngineVerdict.ts';
import type { Event as _admin_v1_Event, Event__Output as _admin_v1_Event__Output } from './admin/v1/Event.ts';
import type { ExplainDeploymentRequest as _admin_v1_ExplainDeploymentRequest, ExplainDeploymentRequest__Output as _admin_v1_ExplainDeploymentRequest__Output } from './admin/v1/ExplainDeploymentRequest.ts';
import type { ExplainDeploymentResponse as _admin_v1_ExplainDeploymentResponse, ExplainDeploymentResponse__Output as _admin_v1_ExplainDeploymentResponse__Output } from './admin/v1/ExplainDeploymentResponse.ts';
import type { ExplainRequestRequest as _admin_v1_ExplainRequestRequest, ExplainRequestRequest__Output as _admin_v1_ExplainRequestRequest__Output } from './admin/v1/ExplainRequestRequest.ts';
import type { ExplainRequestResponse as _admin_v1_ExplainRequestResponse, ExplainRequestResponse__Output as _admin_v1_ExplainRequestResponse__Output } from './admin/v1/ExplainRequestResponse.ts';
import type { FieldChange as _admin_v1_FieldChange, FieldChange__Output as _admin_v1_FieldChange__Output } from './admin/v1/FieldChange.ts';
import type { Freeze as _admin_v1_Freeze, Freeze__Output as _admin_v1_Freeze__Output } from './admin/v1/Freeze.ts';
import type { GetEngineRequest as _admin_v1_GetEngineRequest, GetEngineRequest__Output as _admin_v1_GetEngineRequest__Output } from './admin/v1/GetEngineRequest.ts';
import type { GetEngineResponse as _admin_v1_GetEngineResponse, GetEngineResponse__Output as _admin_v1_GetEngineResponse__Output } from './admin/v1/GetEngineResponse.ts';
import type { GetFreezeRequest as _admin_v1_GetFreezeRequest, GetFreezeRequest__Output as _admin_v1_GetFreezeRequest__Output } from './admin/v1/GetFreezeRequest.ts';
import type { GetFreezeResponse as _admin_v1_GetFreezeResponse, GetFreezeResponse__Output as _admin_v1_GetFreezeResponse__Output } from './admin/v1/GetFreezeResponse.ts';
import type { GetNodeRequest as _admin_v1_GetNodeRequest, GetNodeRequest__Output as _admin_v1_GetNodeRequest__Output } from './admin/v1/GetNodeRequest.ts';
import type { GetNodeResponse as _admin_v1_GetNodeResponse, GetNodeResponse__Output as _admin_v1_GetNodeResponse__Output } from './admin/v1/GetNodeResponse.ts';
import type { GetResourceRequest as _admin_v1_GetResourceRequest, GetResourceRequest__Output as _admin_v1_GetResourceRequest__Output } from './admin/v1/GetResourceRequest.ts';
import type { GetResourceResponse as _admin_v1_GetResourceResponse, GetResourceResponse__Output as _admin_v1_GetResourceResponse__Output } from './admin/v1/GetResourceResponse.ts';
import type { GetRolloutRequest as _admin_v1_GetRolloutRequest, GetRolloutRequest__Output as _admin_v1_GetRolloutRequest__Output } from './admin/v1/GetRolloutRequest.ts';
import type { GetRolloutResponse as _admin_v1_GetRolloutResponse, GetRolloutResponse__Output as _admin_v1_GetRolloutResponse__Output } from './admin/v1/GetRolloutResponse.ts';
import type { GetStatusRequest as _admin_v1_GetStatusRequest, GetStatusRequest__Output as _admin_v1_GetStatusRequest__Output } from './admin/v1/GetStatusRequest.ts';
import type { GetStatusResponse as _admin_v1_GetStatusResponse, GetStatusResponse__Output as _admin_v1_GetStatusResponse__Output } from './admin/v1/GetStatusResponse.ts';
import type { Key as _admin_v1_Key, Key__Output as _admin_v1_Key__Output } from './admin/v1/Key.ts';
import type { LiftFreezeRequest as _admin_v1_LiftFreezeRequest, LiftFreezeRequest__Output as _admin_v1_LiftFreezeRequest__Output } from './admin/v1/LiftFreezeRequest.ts';
import type { LiftFreezeResponse as _admin_v1_LiftFreezeResponse, LiftFreezeResponse__Output as _admin_v1_LiftFreezeResponse__Output } from './admin/v1/LiftFreezeResponse.ts';
import type { ListEnginesRequest as _admin_v1_ListEnginesRequest, ListEnginesRequest__Output as _admin_v1_ListEnginesRequest__Output } from './admin/v1/ListEnginesRequest.ts';
import type { ListEnginesResponse as _admin_v1_ListEnginesResponse, ListEnginesResponse__Output as _admin_v1_ListEnginesResponse__Output } from './admin/v1/ListEnginesResponse.ts';
import type { ListEventsRequest as _admin_v1_ListEventsRequest, ListEventsRequest__Output as _admin_v1_ListEventsRequest__Output } from './admin/v1/ListEventsRequest.ts';
import type { ListEventsResponse as _admin_v1_ListEventsResponse, ListEventsResponse__Output as _admin_v1_ListEventsResponse__Output } from './admin/v1/ListEventsResponse.ts';
import type { ListKeysRequest as _admin_v1_ListKeysRequest, ListKeysRequest__Output as _admin_v1_ListKeysRequest__Output } from './admin/v1/ListKeysRequest.ts';
import type { ListKeysResponse as _admin_v1_ListKeysResponse, ListKeysResponse__Output as _admin_v1_ListKeysResponse__Output } from './admin/v1/ListKeysResponse.ts';
import type { ListModelsRequest as _admin_v1_ListModelsRequest, ListModelsRequest__Output as _admin_v1_ListModelsRequest__Output } from './admin/v1/ListModelsRequest.ts';
import type { ListModelsResponse as _admin_v1_ListModelsResponse, ListModelsResponse__Output as _admin_v1_ListModelsResponse__Output } from './admin/v1/ListModelsResponse.ts';
import type { ListNodesRequest as _admin_v1_ListNodesRequest, ListNodesRequest__Output as _admin_v1_ListNodesRequest__Output } from './admin/v1/ListNodesRequest.ts';
import type { ListNodesResponse as _admin_v1_ListNodesResponse, ListNodesResponse__Output as _admin_v1_ListNodesResponse__Output } from './admin/v1/ListNodesResponse.ts';
import type { ListResourcesRequest as _admin_v1_ListResourcesRequest, ListResourcesRequest__Output as _admin_v1_ListResourcesRequest__Output } from './admin/v1/ListResourcesRequest.ts';
import type { ListResourcesResponse as _admin_v1_ListResourcesResponse, ListResourcesResponse__Output as _admin_v1_ListResourcesResponse__Output } from './admin/v1/ListResourcesResponse.ts';
import type { ListUsageRequest as _admin_v1_ListUsageRequest, ListUsageRequest__Output as _admin_v1_ListUsageRequest__Output } from './admin/v1/ListUsageRequest.ts';
import type { ListUsageResponse as _admin_v1_ListUsageResponse, ListUsageResponse__Output as _admin_v1_ListUsageResponse__Output } from './admin/v1/ListUsageResponse.ts';
import type { Model as _admin_v1_Model, Model__Output as _admin_v1_Model__Output } from './admin/v1/Model.ts';
import type { ModelFiles as _admin_v1_ModelFiles, ModelFiles__Output as _admin_v1_ModelFiles__Output } from './admin/v1/ModelFiles.ts';
import type { MoveCost as _admin_v1_MoveCost, MoveCost__Output as _admin_v1_MoveCost__Output } from './admin/v1/MoveCost.ts';
import type { Node as _admin_v1_Node, Node__Output as _admin_v1_Node__Output } from './admin/v1/Node.ts';
import type { NodeDeclaration as _admin_v1_NodeDeclaration, NodeDeclaration__Output as _admin_v1_NodeDeclaration__Output } from './admin/v1/NodeDeclaration.ts';
import type { OrderDefragmentationRequest as _admin_v1_OrderDefragmentationRequest, OrderDefragmentationRequest__Output as _admin_v1_OrderDefragmentationRequest__Output } from './admin/v1/OrderDefragmentationRequest.ts';
import type { OrderDefragmentationResponse as _admin_v1_OrderDefragmentationResponse, OrderDefragmentationResponse__Output as _admin_v1_OrderDefragmentationResponse__Output } from './admin/v1/OrderDefragmentationResponse.ts';
import type { OrderRolloutRequest as _admin_v1_OrderRolloutRequest, OrderRolloutRequest__Output as _admin_v1_OrderRolloutRequest__Output } from './admin/v1/OrderRolloutRequest.ts';
import type { OrderRolloutResponse as _admin_v1_OrderRolloutResponse, OrderRolloutResponse__Output as _admin_v1_OrderRolloutResponse__Output } from './admin/v1/OrderRolloutResponse.ts';
import type { PlanDefragmentationRequest as _admin_v1_PlanDefragmentationRequest, PlanDefragmentationRequest__Output as _admin_v1_PlanDefragmentationRequest__Output } from './admin/v1/PlanDefragmentationRequest.ts';
import type { PlanDefragmentationResponse as _admin_v1_PlanDefragmentationResponse, PlanDefragmentationResponse__Output as _admin_v1_PlanDefragmentationResponse__Output } from './admin/v1/PlanDefragmentationResponse.ts';
import type { PlanResourcesRequest as _admin_v1_PlanResourcesRequest, PlanResourcesRequest__Output as _admin_v1_PlanResourcesRequest__Output } from './admin/v1/PlanResourcesRequest.ts';
import type { PlanResourcesResponse as _admin_v1_PlanResourcesResponse, PlanResourcesResponse__Output as _admin_v1_PlanResourcesResponse__Output } from './admin/v1/PlanResourcesResponse.ts';
import type { PlannedMove as _admin_v1_PlannedMove, PlannedMove__Output as _admin_v1_PlannedMove__Output } from './admin/v1/PlannedMove.ts';
import type { ProviderTurn as _admin_v1_ProviderTurn, ProviderTurn__Output as _admin_v1_ProviderTurn__Output } from './admin/v1/ProviderTurn.ts';
import type { QuarantineStatus as _admin_v1_QuarantineStatus, QuarantineStatus__Output as _admin_v1_QuarantineStatus__Output } from './admin/v1/QuarantineStatus.ts';
import type { QueueWait as _admin_v1_QueueWait, QueueWait__Output as _admin_v1_QueueWait__Output } from './admin/v1/QueueWait.ts';
import type { ReplayRequest as _admin_v1_ReplayRequest, ReplayRequest__Output as _admin_v1_ReplayRequest__Output } from './admin/v1/ReplayRequest.ts';
import type { ReplayResponse as _admin_v1_ReplayResponse, ReplayResponse__Output as _admin_v1_ReplayResponse__Output } from './admin/v1/ReplayResponse.ts';
import type { Replica as _admin_v1_Replica, Replica__Output as _admin_v1_Replica__Output } from './admin/v1/Replica.ts';
import type { ReplicaGpus as _admin_v1_ReplicaGpus, ReplicaGpus__Output as _admin_v1_ReplicaGpus__Output } from './admin/v1/ReplicaGpus.ts';
import type { Resource as _admin_v1_Resource, Resource__Output as _admin_v1_Resource__Output } from './admin/v1/Resource.ts';
import type { ResourceOutcome as _admin_v1_ResourceOutcome, ResourceOutcome__Output as _admin_v1_ResourceOutcome__Output } from './admin/v1/ResourceOutcome.ts';
import type { ResourceRef as _admin_v1_ResourceRef, ResourceRef__Output as _admin_v1_ResourceRef__Output } from './admin/v1/ResourceRef.ts';
import type { RevokeKeyRequest as _admin_v1_RevokeKeyRequest, RevokeKeyRequest__Output as _admin_v1_RevokeKeyRequest__Output } from './admin/v1/RevokeKeyRequest.ts';
import type { RevokeKeyResponse as _admin_v1_RevokeKeyResponse, RevokeKeyResponse__Output as _admin_v1_RevokeKeyResponse__Output } from './admin/v1/RevokeKeyResponse.ts';
import type { Rollout as _admin_v1_Rollout, Rollout__Output as _admin_v1_Rollout__Output } from './admin/v1/Rollout.ts';
import type { RoutingDecision as _admin_v1_RoutingDecision, RoutingDecision__Output as _admin_v1_RoutingDecision__Output } from './admin/v1/RoutingDecision.ts';
import type { RunCommandRequest as _admin_v1_RunCommandRequest, RunCommandRequest__Output as _admin_v1_RunCommandRequest__Output } from './admin/v1/RunCommandRequest.ts';
import type { RunCommandResponse as _admin_v1_RunCommandResponse, RunCommandResponse__Output as _admin_v1_RunCommandResponse__Output } from './admin/v1/RunCommandResponse.ts';
import type { SetFreezeRequest as _admin_v1_SetFreezeRequest, SetFreezeRequest__Output as _admin_v1_SetFreezeRequest__Output } from './admin/v1/SetFreezeRequest.ts';
import type { SetFreezeResponse as _admin_v1_SetFreezeResponse, SetFreezeResponse__Output as _admin_v1_SetFreezeResponse__Output } from './admin/v1/SetFreezeResponse.ts';
import type { StateEntry as _admin_v1_StateEntry, StateEntry__Output as _admin_v1_StateEntry__Output } from './admin/v1/StateEntry.ts';
import type { UsageRow as _admin_v1_UsageRow, UsageRow__Output as _admin_v1_UsageRow__Output } from './admin/v1/UsageRow.ts';
import type { Wholeness as _admin_v1_Wholeness, Wholeness__Output as _admin_v1_Wholeness__Output } from './admin/v1/Wholeness.ts';
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
  admin: {
    v1: {
      Admin: SubtypeConstructor<typeof grpc.Client, _admin_v1_AdminClient> & { service: _admin_v1_AdminDefinition }
      ApplyResourcesRequest: MessageTypeDefinition<_admin_v1_ApplyResourcesRequest, _admin_v1_ApplyResourcesRequest__Output>
      ApplyResourcesResponse: MessageTypeDefinition<_admin_v1_ApplyResourcesResponse, _admin_v1_ApplyResourcesResponse__Output>
      Candidate: MessageTypeDefinition<_admin_v1_Candidate, _admin_v1_Candidate__Output>
      CostPart: MessageTypeDefinition<_admin_v1_CostPart, _admin_v1_CostPart__Output>
      CreateKeyRequest: MessageTypeDefinition<_admin_v1_CreateKeyRequest, _admin_v1_CreateKeyRequest__Output>
      CreateKeyResponse: MessageTypeDefinition<_admin_v1_CreateKeyResponse, _admin_v1_CreateKeyResponse__Output>
      DeleteResourcesRequest: MessageTypeDefinition<_admin_v1_DeleteResourcesRequest, _admin_v1_DeleteResourcesRequest__Output>
      DeleteResourcesResponse: MessageTypeDefinition<_admin_v1_DeleteResourcesResponse, _admin_v1_DeleteResourcesResponse__Output>
      DeploymentStatus: MessageTypeDefinition<_admin_v1_DeploymentStatus, _admin_v1_DeploymentStatus__Output>
      DescribeResourceRequest: MessageTypeDefinition<_admin_v1_DescribeResourceRequest, _admin_v1_DescribeResourceRequest__Output>
      DescribeResourceResponse: MessageTypeDefinition<_admin_v1_DescribeResourceResponse, _admin_v1_DescribeResourceResponse__Output>
      Engine: MessageTypeDefinition<_admin_v1_Engine, _admin_v1_Engine__Output>
      EngineRouting: MessageTypeDefinition<_admin_v1_EngineRouting, _admin_v1_EngineRouting__Output>
      EngineStatus: MessageTypeDefinition<_admin_v1_EngineStatus, _admin_v1_EngineStatus__Output>
      EngineVerdict: MessageTypeDefinition<_admin_v1_EngineVerdict, _admin_v1_EngineVerdict__Output>
      Event: MessageTypeDefinition<_admin_v1_Event, _admin_v1_Event__Output>
      ExplainDeploymentRequest: MessageTypeDefinition<_admin_v1_ExplainDeploymentRequest, _admin_v1_ExplainDeploymentRequest__Output>
      ExplainDeploymentResponse: MessageTypeDefinition<_admin_v1_ExplainDeploymentResponse, _admin_v1_ExplainDeploymentResponse__Output>
      ExplainRequestRequest: MessageTypeDefinition<_admin_v1_ExplainRequestRequest, _admin_v1_ExplainRequestRequest__Output>
      ExplainRequestResponse: MessageTypeDefinition<_admin_v1_ExplainRequestResponse, _admin_v1_ExplainRequestResponse__Output>
      FieldChange: MessageTypeDefinition<_admin_v1_FieldChange, _admin_v1_FieldChange__Output>
      Freeze: MessageTypeDefinition<_admin_v1_Freeze, _admin_v1_Freeze__Output>
      GetEngineRequest: MessageTypeDefinition<_admin_v1_GetEngineRequest, _admin_v1_GetEngineRequest__Output>
      GetEngineResponse: MessageTypeDefinition<_admin_v1_GetEngineResponse, _admin_v1_GetEngineResponse__Output>
      GetFreezeRequest: MessageTypeDefinition<_admin_v1_GetFreezeRequest, _admin_v1_GetFreezeRequest__Output>
      GetFreezeResponse: MessageTypeDefinition<_admin_v1_GetFreezeResponse, _admin_v1_GetFreezeResponse__Output>
      GetNodeRequest: MessageTypeDefinition<_admin_v1_GetNodeRequest, _admin_v1_GetNodeRequest__Output>
      GetNodeResponse: MessageTypeDefinition<_admin_v1_GetNodeResponse, _admin_v1_GetNodeResponse__Output>
      GetResourceRequest: MessageTypeDefinition<_admin_v1_GetResourceRequest, _admin_v1_GetResourceRequest__Output>
      GetResourceResponse: MessageTypeDefinition<_admin_v1_GetResourceResponse, _admin_v1_GetResourceResponse__Output>
      GetRolloutRequest: MessageTypeDefinition<_admin_v1_GetRolloutRequest, _admin_v1_GetRolloutRequest__Output>
      GetRolloutResponse: MessageTypeDefinition<_admin_v1_GetRolloutResponse, _admin_v1_GetRolloutResponse__Output>
      GetStatusRequest: MessageTypeDefinition<_admin_v1_GetStatusRequest, _admin_v1_GetStatusRequest__Output>
      GetStatusResponse: MessageTypeDefinition<_admin_v1_GetStatusResponse, _admin_v1_GetStatusResponse__Output>
      Key: MessageTypeDefinition<_admin_v1_Key, _admin_v1_Key__Output>
      LiftFreezeRequest: MessageTypeDefinition<_admin_v1_LiftFreezeRequest, _admin_v1_LiftFreezeRequest__Output>
      LiftFreezeResponse: MessageTypeDefinition<_admin_v1_LiftFreezeResponse, _admin_v1_LiftFreezeResponse__Output>
      ListEnginesRequest: MessageTypeDefinition<_admin_v1_ListEnginesRequest, _admin_v1_ListEnginesRequest__Output>
      ListEnginesResponse: MessageTypeDefinition<_admin_v1_ListEnginesResponse, _admin_v1_ListEnginesResponse__Output>
      ListEventsRequest: MessageTypeDefinition<_admin_v1_ListEventsRequest, _admin_v1_ListEventsRequest__Output>
      ListEventsResponse: MessageTypeDefinition<_admin_v1_ListEventsResponse, _admin_v1_ListEventsResponse__Output>
      ListKeysRequest: MessageTypeDefinition<_admin_v1_ListKeysRequest, _admin_v1_ListKeysRequest__Output>
      ListKeysResponse: MessageTypeDefinition<_admin_v1_ListKeysResponse, _admin_v1_ListKeysResponse__Output>
      ListModelsRequest: MessageTypeDefinition<_admin_v1_ListModelsRequest, _admin_v1_ListModelsRequest__Output>
      ListModelsResponse: MessageTypeDefinition<_admin_v1_ListModelsResponse, _admin_v1_ListModelsResponse__Output>
      ListNodesRequest: MessageTypeDefinition<_admin_v1_ListNodesRequest, _admin_v1_ListNodesRequest__Output>
      ListNodesResponse: MessageTypeDefinition<_admin_v1_ListNodesResponse, _admin_v1_ListNodesResponse__Output>
      ListResourcesRequest: MessageTypeDefinition<_admin_v1_ListResourcesRequest, _admin_v1_ListResourcesRequest__Output>
      ListResourcesResponse: MessageTypeDefinition<_admin_v1_ListResourcesResponse, _admin_v1_ListResourcesResponse__Output>
      ListUsageRequest: MessageTypeDefinition<_admin_v1_ListUsageRequest, _admin_v1_ListUsageRequest__Output>
      ListUsageResponse: MessageTypeDefinition<_admin_v1_ListUsageResponse, _admin_v1_ListUsageResponse__Output>
      Model: MessageTypeDefinition<_admin_v1_Model, _admin_v1_Model__Output>
      ModelFiles: MessageTypeDefinition<_admin_v1_ModelFiles, _admin_v1_ModelFiles__Output>
      MoveCost: MessageTypeDefinition<_admin_v1_MoveCost, _admin_v1_MoveCost__Output>
      Node: MessageTypeDefinition<_admin_v1_Node, _admin_v1_Node__Output>
      NodeDeclaration: MessageTypeDefinition<_admin_v1_NodeDeclaration, _admin_v1_NodeDeclaration__Output>
      OrderDefragmentationRequest: MessageTypeDefinition<_admin_v1_OrderDefragmentationRequest, _admin_v1_OrderDefragmentationRequest__Output>
      OrderDefragmentationResponse: MessageTypeDefinition<_admin_v1_OrderDefragmentationResponse, _admin_v1_OrderDefragmentationResponse__Output>
      OrderRolloutRequest: MessageTypeDefinition<_admin_v1_OrderRolloutRequest, _admin_v1_OrderRolloutRequest__Output>
      OrderRolloutResponse: MessageTypeDefinition<_admin_v1_OrderRolloutResponse, _admin_v1_OrderRolloutResponse__Output>
      PlanDefragmentationRequest: MessageTypeDefinition<_admin_v1_PlanDefragmentationRequest, _admin_v1_PlanDefragmentationRequest__Output>
      PlanDefragmentationResponse: MessageTypeDefinition<_admin_v1_PlanDefragmentationResponse, _admin_v1_PlanDefragmentationResponse__Output>
      PlanResourcesRequest: MessageTypeDefinition<_admin_v1_PlanResourcesRequest, _admin_v1_PlanResourcesRequest__Output>
      PlanResourcesResponse: MessageTypeDefinition<_admin_v1_PlanResourcesResponse, _admin_v1_PlanResourcesResponse__Output>
      PlannedMove: MessageTypeDefinition<_admin_v1_PlannedMove, _admin_v1_PlannedMove__Output>
      ProviderTurn: MessageTypeDefinition<_admin_v1_ProviderTurn, _admin_v1_ProviderTurn__Output>
      QuarantineStatus: MessageTypeDefinition<_admin_v1_QuarantineStatus, _admin_v1_QuarantineStatus__Output>
      QueueWait: MessageTypeDefinition<_admin_v1_QueueWait, _admin_v1_QueueWait__Output>
      ReplayRequest: MessageTypeDefinition<_admin_v1_ReplayRequest, _admin_v1_ReplayRequest__Output>
      ReplayResponse: MessageTypeDefinition<_admin_v1_ReplayResponse, _admin_v1_ReplayResponse__Output>
      Replica: MessageTypeDefinition<_admin_v1_Replica, _admin_v1_Replica__Output>
      ReplicaGpus: MessageTypeDefinition<_admin_v1_ReplicaGpus, _admin_v1_ReplicaGpus__Output>
      Resource: MessageTypeDefinition<_admin_v1_Resource, _admin_v1_Resource__Output>
      ResourceOutcome: MessageTypeDefinition<_admin_v1_ResourceOutcome, _admin_v1_ResourceOutcome__Output>
      ResourceRef: MessageTypeDefinition<_admin_v1_ResourceRef, _admin_v1_ResourceRef__Output>
      RevokeKeyRequest: MessageTypeDefinition<_admin_v1_RevokeKeyRequest, _admin_v1_RevokeKeyRequest__Output>
      RevokeKeyResponse: MessageTypeDefinition<_admin_v1_RevokeKeyResponse, _admin_v1_RevokeKeyResponse__Output>
      Rollout: MessageTypeDefinition<_admin_v1_Rollout, _admin_v1_Rollout__Output>
      RoutingDecision: MessageTypeDefinition<_admin_v1_RoutingDecision, _admin_v1_RoutingDecision__Output>
      RunCommandRequest: MessageTypeDefinition<_admin_v1_RunCommandRequest, _admin_v1_RunCommandRequest__Output>
      RunCommandResponse: MessageTypeDefinition<_admin_v1_RunCommandResponse, _admin_v1_RunCommandResponse__Output>
      SetFreezeRequest: MessageTypeDefinition<_admin_v1_SetFreezeRequest, _admin_v1_SetFreezeRequest__Output>
      SetFreezeResponse: MessageTypeDefinition<_admin_v1_SetFreezeResponse, _admin_v1_SetFreezeResponse__Output>
      StateEntry: MessageTypeDefinition<_admin_v1_StateEntry, _admin_v1_StateEntry__Output>
      UsageRow: MessageTypeDefinition<_admin_v1_UsageRow, _admin_v1_UsageRow__Output>
      Wholeness: MessageTypeDefinition<_admin_v1_Wholeness, _admin_v1_Wholeness__Output>
    }
  }
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

