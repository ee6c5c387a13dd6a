// Original file: admin/v1/admin.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { ApplyResourcesRequest as _admin_v1_ApplyResourcesRequest, ApplyResourcesRequest__Output as _admin_v1_ApplyResourcesRequest__Output } from '../../admin/v1/ApplyResourcesRequest.ts';
import type { ApplyResourcesResponse as _admin_v1_ApplyResourcesResponse, ApplyResourcesResponse__Output as _admin_v1_ApplyResourcesResponse__Output } from '../../admin/v1/ApplyResourcesResponse.ts';
import type { CreateKeyRequest as _admin_v1_CreateKeyRequest, CreateKeyRequest__Output as _admin_v1_CreateKeyRequest__Output } from '../../admin/v1/CreateKeyRequest.ts';
import type { CreateKeyResponse as _admin_v1_CreateKeyResponse, CreateKeyResponse__Output as _admin_v1_CreateKeyResponse__Output } from '../../admin/v1/CreateKeyResponse.ts';
import type { DeleteResourcesRequest as _admin_v1_DeleteResourcesRequest, DeleteResourcesRequest__Output as _admin_v1_DeleteResourcesRequest__Output } from '../../admin/v1/DeleteResourcesRequest.ts';
import type { DeleteResourcesResponse as _admin_v1_DeleteResourcesResponse, DeleteResourcesResponse__Output as _admin_v1_DeleteResourcesResponse__Output } from '../../admin/v1/DeleteResourcesResponse.ts';
import type { DescribeResourceRequest as _admin_v1_DescribeResourceRequest, DescribeResourceRequest__Output as _admin_v1_DescribeResourceRequest__Output } from '../../admin/v1/DescribeResourceRequest.ts';
import type { DescribeResourceResponse as _admin_v1_DescribeResourceResponse, DescribeResourceResponse__Output as _admin_v1_DescribeResourceResponse__Output } from '../../admin/v1/DescribeResourceResponse.ts';
import type { ExplainDeploymentRequest as _admin_v1_ExplainDeploymentRequest, ExplainDeploymentRequest__Output as _admin_v1_ExplainDeploymentRequest__Output } from '../../admin/v1/ExplainDeploymentRequest.ts';
import type { ExplainDeploymentResponse as _admin_v1_ExplainDeploymentResponse, ExplainDeploymentResponse__Output as _admin_v1_ExplainDeploymentResponse__Output } from '../../admin/v1/ExplainDeploymentResponse.ts';
import type { ExplainRequestRequest as _admin_v1_ExplainRequestRequest, ExplainRequestRequest__Output as _admin_v1_ExplainRequestRequest__Output } from '../../admin/v1/ExplainRequestRequest.ts';
import type { ExplainRequestResponse as _admin_v1_ExplainRequestResponse, ExplainRequestResponse__Output as _admin_v1_ExplainRequestResponse__Output } from '../../admin/v1/ExplainRequestResponse.ts';
import type { GetEngineRequest as _admin_v1_GetEngineRequest, GetEngineRequest__Output as _admin_v1_GetEngineRequest__Output } from '../../admin/v1/GetEngineRequest.ts';
import type { GetEngineResponse as _admin_v1_GetEngineResponse, GetEngineResponse__Output as _admin_v1_GetEngineResponse__Output } from '../../admin/v1/GetEngineResponse.ts';
import type { GetFreezeRequest as _admin_v1_GetFreezeRequest, GetFreezeRequest__Output as _admin_v1_GetFreezeRequest__Output } from '../../admin/v1/GetFreezeRequest.ts';
import type { GetFreezeResponse as _admin_v1_GetFreezeResponse, GetFreezeResponse__Output as _admin_v1_GetFreezeResponse__Output } from '../../admin/v1/GetFreezeResponse.ts';
import type { GetNodeRequest as _admin_v1_GetNodeRequest, GetNodeRequest__Output as _admin_v1_GetNodeRequest__Output } from '../../admin/v1/GetNodeRequest.ts';
import type { GetNodeResponse as _admin_v1_GetNodeResponse, GetNodeResponse__Output as _admin_v1_GetNodeResponse__Output } from '../../admin/v1/GetNodeResponse.ts';
import type { GetResourceRequest as _admin_v1_GetResourceRequest, GetResourceRequest__Output as _admin_v1_GetResourceRequest__Output } from '../../admin/v1/GetResourceRequest.ts';
import type { GetResourceResponse as _admin_v1_GetResourceResponse, GetResourceResponse__Output as _admin_v1_GetResourceResponse__Output } from '../../admin/v1/GetResourceResponse.ts';
import type { GetRolloutRequest as _admin_v1_GetRolloutRequest, GetRolloutRequest__Output as _admin_v1_GetRolloutRequest__Output } from '../../admin/v1/GetRolloutRequest.ts';
import type { GetRolloutResponse as _admin_v1_GetRolloutResponse, GetRolloutResponse__Output as _admin_v1_GetRolloutResponse__Output } from '../../admin/v1/GetRolloutResponse.ts';
import type { GetStatusRequest as _admin_v1_GetStatusRequest, GetStatusRequest__Output as _admin_v1_GetStatusRequest__Output } from '../../admin/v1/GetStatusRequest.ts';
import type { GetStatusResponse as _admin_v1_GetStatusResponse, GetStatusResponse__Output as _admin_v1_GetStatusResponse__Output } from '../../admin/v1/GetStatusResponse.ts';
import type { LiftFreezeRequest as _admin_v1_LiftFreezeRequest, LiftFreezeRequest__Output as _admin_v1_LiftFreezeRequest__Output } from '../../admin/v1/LiftFreezeRequest.ts';
import type { LiftFreezeResponse as _admin_v1_LiftFreezeResponse, LiftFreezeResponse__Output as _admin_v1_LiftFreezeResponse__Output } from '../../admin/v1/LiftFreezeResponse.ts';
import type { ListEnginesRequest as _admin_v1_ListEnginesRequest, ListEnginesRequest__Output as _admin_v1_ListEnginesRequest__Output } from '../../admin/v1/ListEnginesRequest.ts';
import type { ListEnginesResponse as _admin_v1_ListEnginesResponse, ListEnginesResponse__Output as _admin_v1_ListEnginesResponse__Output } from '../../admin/v1/ListEnginesResponse.ts';
import type { ListEventsRequest as _admin_v1_ListEventsRequest, ListEventsRequest__Output as _admin_v1_ListEventsRequest__Output } from '../../admin/v1/ListEventsRequest.ts';
import type { ListEventsResponse as _admin_v1_ListEventsResponse, ListEventsResponse__Output as _admin_v1_ListEventsResponse__Output } from '../../admin/v1/ListEventsResponse.ts';
import type { ListKeysRequest as _admin_v1_ListKeysRequest, ListKeysRequest__Output as _admin_v1_ListKeysRequest__Output } from '../../admin/v1/ListKeysRequest.ts';
import type { ListKeysResponse as _admin_v1_ListKeysResponse, ListKeysResponse__Output as _admin_v1_ListKeysResponse__Output } from '../../admin/v1/ListKeysResponse.ts';
import type { ListModelsRequest as _admin_v1_ListModelsRequest, ListModelsRequest__Output as _admin_v1_ListModelsRequest__Output } from '../../admin/v1/ListModelsRequest.ts';
import type { ListModelsResponse as _admin_v1_ListModelsResponse, ListModelsResponse__Output as _admin_v1_ListModelsResponse__Output } from '../../admin/v1/ListModelsResponse.ts';
import type { ListNodesRequest as _admin_v1_ListNodesRequest, ListNodesRequest__Output as _admin_v1_ListNodesRequest__Output } from '../../admin/v1/ListNodesRequest.ts';
import type { ListNodesResponse as _admin_v1_ListNodesResponse, ListNodesResponse__Output as _admin_v1_ListNodesResponse__Output } from '../../admin/v1/ListNodesResponse.ts';
import type { ListResourcesRequest as _admin_v1_ListResourcesRequest, ListResourcesRequest__Output as _admin_v1_ListResourcesRequest__Output } from '../../admin/v1/ListResourcesRequest.ts';
import type { ListResourcesResponse as _admin_v1_ListResourcesResponse, ListResourcesResponse__Output as _admin_v1_ListResourcesResponse__Output } from '../../admin/v1/ListResourcesResponse.ts';
import type { ListUsageRequest as _admin_v1_ListUsageRequest, ListUsageRequest__Output as _admin_v1_ListUsageRequest__Output } from '../../admin/v1/ListUsageRequest.ts';
import type { ListUsageResponse as _admin_v1_ListUsageResponse, ListUsageResponse__Output as _admin_v1_ListUsageResponse__Output } from '../../admin/v1/ListUsageResponse.ts';
import type { OrderDefragmentationRequest as _admin_v1_OrderDefragmentationRequest, OrderDefragmentationRequest__Output as _admin_v1_OrderDefragmentationRequest__Output } from '../../admin/v1/OrderDefragmentationRequest.ts';
import type { OrderDefragmentationResponse as _admin_v1_OrderDefragmentationResponse, OrderDefragmentationResponse__Output as _admin_v1_OrderDefragmentationResponse__Output } from '../../admin/v1/OrderDefragmentationResponse.ts';
import type { OrderRolloutRequest as _admin_v1_OrderRolloutRequest, OrderRolloutRequest__Output as _admin_v1_OrderRolloutRequest__Output } from '../../admin/v1/OrderRolloutRequest.ts';
import type { OrderRolloutResponse as _admin_v1_OrderRolloutResponse, OrderRolloutResponse__Output as _admin_v1_OrderRolloutResponse__Output } from '../../admin/v1/OrderRolloutResponse.ts';
import type { PlanDefragmentationRequest as _admin_v1_PlanDefragmentationRequest, PlanDefragmentationRequest__Output as _admin_v1_PlanDefragmentationRequest__Output } from '../../admin/v1/PlanDefragmentationRequest.ts';
import type { PlanDefragmentationResponse as _admin_v1_PlanDefragmentationResponse, PlanDefragmentationResponse__Output as _admin_v1_PlanDefragmentationResponse__Output } from '../../admin/v1/PlanDefragmentationResponse.ts';
import type { PlanResourcesRequest as _admin_v1_PlanResourcesRequest, PlanResourcesRequest__Output as _admin_v1_PlanResourcesRequest__Output } from '../../admin/v1/PlanResourcesRequest.ts';
import type { PlanResourcesResponse as _admin_v1_PlanResourcesResponse, PlanResourcesResponse__Output as _admin_v1_PlanResourcesResponse__Output } from '../../admin/v1/PlanResourcesResponse.ts';
import type { ReplayRequest as _admin_v1_ReplayRequest, ReplayRequest__Output as _admin_v1_ReplayRequest__Output } from '../../admin/v1/ReplayRequest.ts';
import type { ReplayResponse as _admin_v1_ReplayResponse, ReplayResponse__Output as _admin_v1_ReplayResponse__Output } from '../../admin/v1/ReplayResponse.ts';
import type { RevokeKeyRequest as _admin_v1_RevokeKeyRequest, RevokeKeyRequest__Output as _admin_v1_RevokeKeyRequest__Output } from '../../admin/v1/RevokeKeyRequest.ts';
import type { RevokeKeyResponse as _admin_v1_RevokeKeyResponse, RevokeKeyResponse__Output as _admin_v1_RevokeKeyResponse__Output } from '../../admin/v1/RevokeKeyResponse.ts';
import type { RunCommandRequest as _admin_v1_RunCommandRequest, RunCommandRequest__Output as _admin_v1_RunCommandRequest__Output } from '../../admin/v1/RunCommandRequest.ts';
import type { RunCommandResponse as _admin_v1_RunCommandResponse, RunCommandResponse__Output as _admin_v1_RunCommandResponse__Output } from '../../admin/v1/RunCommandResponse.ts';
import type { SetFreezeRequest as _admin_v1_SetFreezeRequest, SetFreezeRequest__Output as _admin_v1_SetFreezeRequest__Output } from '../../admin/v1/SetFreezeRequest.ts';
import type { SetFreezeResponse as _admin_v1_SetFreezeResponse, SetFreezeResponse__Output as _admin_v1_SetFreezeResponse__Output } from '../../admin/v1/SetFreezeResponse.ts';

export interface AdminClient extends grpc.Client {
  ApplyResources(argument: _admin_v1_ApplyResourcesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ApplyResourcesResponse__Output>): grpc.ClientUnaryCall;
  ApplyResources(argument: _admin_v1_ApplyResourcesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ApplyResourcesResponse__Output>): grpc.ClientUnaryCall;
  ApplyResources(argument: _admin_v1_ApplyResourcesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ApplyResourcesResponse__Output>): grpc.ClientUnaryCall;
  ApplyResources(argument: _admin_v1_ApplyResourcesRequest, callback: grpc.requestCallback<_admin_v1_ApplyResourcesResponse__Output>): grpc.ClientUnaryCall;
  applyResources(argument: _admin_v1_ApplyResourcesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ApplyResourcesResponse__Output>): grpc.ClientUnaryCall;
  applyResources(argument: _admin_v1_ApplyResourcesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ApplyResourcesResponse__Output>): grpc.ClientUnaryCall;
  applyResources(argument: _admin_v1_ApplyResourcesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ApplyResourcesResponse__Output>): grpc.ClientUnaryCall;
  applyResources(argument: _admin_v1_ApplyResourcesRequest, callback: grpc.requestCallback<_admin_v1_ApplyResourcesResponse__Output>): grpc.ClientUnaryCall;
  
  CreateKey(argument: _admin_v1_CreateKeyRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  CreateKey(argument: _admin_v1_CreateKeyRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  CreateKey(argument: _admin_v1_CreateKeyRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  CreateKey(argument: _admin_v1_CreateKeyRequest, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  createKey(argument: _admin_v1_CreateKeyRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  createKey(argument: _admin_v1_CreateKeyRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  createKey(argument: _admin_v1_CreateKeyRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  createKey(argument: _admin_v1_CreateKeyRequest, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  
  DeleteResources(argument: _admin_v1_DeleteResourcesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_DeleteResourcesResponse__Output>): grpc.ClientUnaryCall;
  DeleteResources(argument: _admin_v1_DeleteResourcesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_DeleteResourcesResponse__Output>): grpc.ClientUnaryCall;
  DeleteResources(argument: _admin_v1_DeleteResourcesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_DeleteResourcesResponse__Output>): grpc.ClientUnaryCall;
  DeleteResources(argument: _admin_v1_DeleteResourcesRequest, callback: grpc.requestCallback<_admin_v1_DeleteResourcesResponse__Output>): grpc.ClientUnaryCall;
  deleteResources(argument: _admin_v1_DeleteResourcesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_DeleteResourcesResponse__Output>): grpc.ClientUnaryCall;
  deleteResources(argument: _admin_v1_DeleteResourcesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_DeleteResourcesResponse__Output>): grpc.ClientUnaryCall;
  deleteResources(argument: _admin_v1_DeleteResourcesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_DeleteResourcesResponse__Output>): grpc.ClientUnaryCall;
  deleteResources(argument: _admin_v1_DeleteResourcesRequest, callback: grpc.requestCallback<_admin_v1_DeleteResourcesResponse__Output>): grpc.ClientUnaryCall;
  
  DescribeResource(argument: _admin_v1_DescribeResourceRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_DescribeResourceResponse__Output>): grpc.ClientUnaryCall;
  DescribeResource(argument: _admin_v1_DescribeResourceRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_DescribeResourceResponse__Output>): grpc.ClientUnaryCall;
  DescribeResource(argument: _admin_v1_DescribeResourceRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_DescribeResourceResponse__Output>): grpc.ClientUnaryCall;
  DescribeResource(argument: _admin_v1_DescribeResourceRequest, callback: grpc.requestCallback<_admin_v1_DescribeResourceResponse__Output>): grpc.ClientUnaryCall;
  describeResource(argument: _admin_v1_DescribeResourceRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_DescribeResourceResponse__Output>): grpc.ClientUnaryCall;
  describeResource(argument: _admin_v1_DescribeResourceRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_DescribeResourceResponse__Output>): grpc.ClientUnaryCall;
  describeResource(argument: _admin_v1_DescribeResourceRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_DescribeResourceResponse__Output>): grpc.ClientUnaryCall;
  describeResource(argument: _admin_v1_DescribeResourceRequest, callback: grpc.requestCallback<_admin_v1_DescribeResourceResponse__Output>): grpc.ClientUnaryCall;
  
  ExplainDeployment(argument: _admin_v1_ExplainDeploymentRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ExplainDeploymentResponse__Output>): grpc.ClientUnaryCall;
  ExplainDeployment(argument: _admin_v1_ExplainDeploymentRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ExplainDeploymentResponse__Output>): grpc.ClientUnaryCall;
  ExplainDeployment(argument: _admin_v1_ExplainDeploymentRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ExplainDeploymentResponse__Output>): grpc.ClientUnaryCall;
  ExplainDeployment(argument: _admin_v1_ExplainDeploymentRequest, callback: grpc.requestCallback<_admin_v1_ExplainDeploymentResponse__Output>): grpc.ClientUnaryCall;
  explainDeployment(argument: _admin_v1_ExplainDeploymentRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ExplainDeploymentResponse__Output>): grpc.ClientUnaryCall;
  explainDeployment(argument: _admin_v1_ExplainDeploymentRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ExplainDeploymentResponse__Output>): grpc.ClientUnaryCall;
  explainDeployment(argument: _admin_v1_ExplainDeploymentRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ExplainDeploymentResponse__Output>): grpc.ClientUnaryCall;
  explainDeployment(argument: _admin_v1_ExplainDeploymentRequest, callback: grpc.requestCallback<_admin_v1_ExplainDeploymentResponse__Output>): grpc.ClientUnaryCall;
  
  ExplainRequest(argument: _admin_v1_ExplainRequestRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ExplainRequestResponse__Output>): grpc.ClientUnaryCall;
  ExplainRequest(argument: _admin_v1_ExplainRequestRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ExplainRequestResponse__Output>): grpc.ClientUnaryCall;
  ExplainRequest(argument: _admin_v1_ExplainRequestRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ExplainRequestResponse__Output>): grpc.ClientUnaryCall;
  ExplainRequest(argument: _admin_v1_ExplainRequestRequest, callback: grpc.requestCallback<_admin_v1_ExplainRequestResponse__Output>): grpc.ClientUnaryCall;
  explainRequest(argument: _admin_v1_ExplainRequestRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ExplainRequestResponse__Output>): grpc.ClientUnaryCall;
  explainRequest(argument: _admin_v1_ExplainRequestRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ExplainRequestResponse__Output>): grpc.ClientUnaryCall;
  explainRequest(argument: _admin_v1_ExplainRequestRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ExplainRequestResponse__Output>): grpc.ClientUnaryCall;
  explainRequest(argument: _admin_v1_ExplainRequestRequest, callback: grpc.requestCallback<_admin_v1_ExplainRequestResponse__Output>): grpc.ClientUnaryCall;
  
  GetEngine(argument: _admin_v1_GetEngineRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetEngineResponse__Output>): grpc.ClientUnaryCall;
  GetEngine(argument: _admin_v1_GetEngineRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetEngineResponse__Output>): grpc.ClientUnaryCall;
  GetEngine(argument: _admin_v1_GetEngineRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetEngineResponse__Output>): grpc.ClientUnaryCall;
  GetEngine(argument: _admin_v1_GetEngineRequest, callback: grpc.requestCallback<_admin_v1_GetEngineResponse__Output>): grpc.ClientUnaryCall;
  getEngine(argument: _admin_v1_GetEngineRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetEngineResponse__Output>): grpc.ClientUnaryCall;
  getEngine(argument: _admin_v1_GetEngineRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetEngineResponse__Output>): grpc.ClientUnaryCall;
  getEngine(argument: _admin_v1_GetEngineRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetEngineResponse__Output>): grpc.ClientUnaryCall;
  getEngine(argument: _admin_v1_GetEngineRequest, callback: grpc.requestCallback<_admin_v1_GetEngineResponse__Output>): grpc.ClientUnaryCall;
  
  GetFreeze(argument: _admin_v1_GetFreezeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetFreezeResponse__Output>): grpc.ClientUnaryCall;
  GetFreeze(argument: _admin_v1_GetFreezeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetFreezeResponse__Output>): grpc.ClientUnaryCall;
  GetFreeze(argument: _admin_v1_GetFreezeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetFreezeResponse__Output>): grpc.ClientUnaryCall;
  GetFreeze(argument: _admin_v1_GetFreezeRequest, callback: grpc.requestCallback<_admin_v1_GetFreezeResponse__Output>): grpc.ClientUnaryCall;
  getFreeze(argument: _admin_v1_GetFreezeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetFreezeResponse__Output>): grpc.ClientUnaryCall;
  getFreeze(argument: _admin_v1_GetFreezeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetFreezeResponse__Output>): grpc.ClientUnaryCall;
  getFreeze(argument: _admin_v1_GetFreezeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetFreezeResponse__Output>): grpc.ClientUnaryCall;
  getFreeze(argument: _admin_v1_GetFreezeRequest, callback: grpc.requestCallback<_admin_v1_GetFreezeResponse__Output>): grpc.ClientUnaryCall;
  
  GetNode(argument: _admin_v1_GetNodeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  GetNode(argument: _admin_v1_GetNodeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  GetNode(argument: _admin_v1_GetNodeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  GetNode(argument: _admin_v1_GetNodeRequest, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  getNode(argument: _admin_v1_GetNodeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  getNode(argument: _admin_v1_GetNodeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  getNode(argument: _admin_v1_GetNodeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  getNode(argument: _admin_v1_GetNodeRequest, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  
  GetResource(argument: _admin_v1_GetResourceRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetResourceResponse__Output>): grpc.ClientUnaryCall;
  GetResource(argument: _admin_v1_GetResourceRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetResourceResponse__Output>): grpc.ClientUnaryCall;
  GetResource(argument: _admin_v1_GetResourceRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetResourceResponse__Output>): grpc.ClientUnaryCall;
  GetResource(argument: _admin_v1_GetResourceRequest, callback: grpc.requestCallback<_admin_v1_GetResourceResponse__Output>): grpc.ClientUnaryCall;
  getResource(argument: _admin_v1_GetResourceRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetResourceResponse__Output>): grpc.ClientUnaryCall;
  getResource(argument: _admin_v1_GetResourceRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetResourceResponse__Output>): grpc.ClientUnaryCall;
  getResource(argument: _admin_v1_GetResourceRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetResourceResponse__Output>): grpc.ClientUnaryCall;
  getResource(argument: _admin_v1_GetResourceRequest, callback: grpc.requestCallback<_admin_v1_GetResourceResponse__Output>): grpc.ClientUnaryCall;
  
  GetRollout(argument: _admin_v1_GetRolloutRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetRolloutResponse__Output>): grpc.ClientUnaryCall;
  GetRollout(argument: _admin_v1_GetRolloutRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetRolloutResponse__Output>): grpc.ClientUnaryCall;
  GetRollout(argument: _admin_v1_GetRolloutRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetRolloutResponse__Output>): grpc.ClientUnaryCall;
  GetRollout(argument: _admin_v1_GetRolloutRequest, callback: grpc.requestCallback<_admin_v1_GetRolloutResponse__Output>): grpc.ClientUnaryCall;
  getRollout(argument: _admin_v1_GetRolloutRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetRolloutResponse__Output>): grpc.ClientUnaryCall;
  getRollout(argument: _admin_v1_GetRolloutRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetRolloutResponse__Output>): grpc.ClientUnaryCall;
  getRollout(argument: _admin_v1_GetRolloutRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetRolloutResponse__Output>): grpc.ClientUnaryCall;
  getRollout(argument: _admin_v1_GetRolloutRequest, callback: grpc.requestCallback<_admin_v1_GetRolloutResponse__Output>): grpc.ClientUnaryCall;
  
  GetStatus(argument: _admin_v1_GetStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _admin_v1_GetStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _admin_v1_GetStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _admin_v1_GetStatusRequest, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _admin_v1_GetStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _admin_v1_GetStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _admin_v1_GetStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _admin_v1_GetStatusRequest, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  
  LiftFreeze(argument: _admin_v1_LiftFreezeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_LiftFreezeResponse__Output>): grpc.ClientUnaryCall;
  LiftFreeze(argument: _admin_v1_LiftFreezeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_LiftFreezeResponse__Output>): grpc.ClientUnaryCall;
  LiftFreeze(argument: _admin_v1_LiftFreezeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_LiftFreezeResponse__Output>): grpc.ClientUnaryCall;
  LiftFreeze(argument: _admin_v1_LiftFreezeRequest, callback: grpc.requestCallback<_admin_v1_LiftFreezeResponse__Output>): grpc.ClientUnaryCall;
  liftFreeze(argument: _admin_v1_LiftFreezeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_LiftFreezeResponse__Output>): grpc.ClientUnaryCall;
  liftFreeze(argument: _admin_v1_LiftFreezeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_LiftFreezeResponse__Output>): grpc.ClientUnaryCall;
  liftFreeze(argument: _admin_v1_LiftFreezeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_LiftFreezeResponse__Output>): grpc.ClientUnaryCall;
  liftFreeze(argument: _admin_v1_LiftFreezeRequest, callback: grpc.requestCallback<_admin_v1_LiftFreezeResponse__Output>): grpc.ClientUnaryCall;
  
  ListEngines(argument: _admin_v1_ListEnginesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  ListEngines(argument: _admin_v1_ListEnginesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  ListEngines(argument: _admin_v1_ListEnginesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  ListEngines(argument: _admin_v1_ListEnginesRequest, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  listEngines(argument: _admin_v1_ListEnginesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  listEngines(argument: _admin_v1_ListEnginesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  listEngines(argument: _admin_v1_ListEnginesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  listEngines(argument: _admin_v1_ListEnginesRequest, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  
  ListEvents(argument: _admin_v1_ListEventsRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_admin_v1_ListEventsResponse__Output>;
  ListEvents(argument: _admin_v1_ListEventsRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_admin_v1_ListEventsResponse__Output>;
  listEvents(argument: _admin_v1_ListEventsRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_admin_v1_ListEventsResponse__Output>;
  listEvents(argument: _admin_v1_ListEventsRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_admin_v1_ListEventsResponse__Output>;
  
  ListKeys(argument: _admin_v1_ListKeysRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListKeysResponse__Output>): grpc.ClientUnaryCall;
  ListKeys(argument: _admin_v1_ListKeysRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListKeysResponse__Output>): grpc.ClientUnaryCall;
  ListKeys(argument: _admin_v1_ListKeysRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListKeysResponse__Output>): grpc.ClientUnaryCall;
  ListKeys(argument: _admin_v1_ListKeysRequest, callback: grpc.requestCallback<_admin_v1_ListKeysResponse__Output>): grpc.ClientUnaryCall;
  listKeys(argument: _admin_v1_ListKeysRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListKeysResponse__Output>): grpc.ClientUnaryCall;
  listKeys(argument: _admin_v1_ListKeysRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListKeysResponse__Output>): grpc.ClientUnaryCall;
  listKeys(argument: _admin_v1_ListKeysRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListKeysResponse__Output>): grpc.ClientUnaryCall;
  listKeys(argument: _admin_v1_ListKeysRequest, callback: grpc.requestCallback<_admin_v1_ListKeysResponse__Output>): grpc.ClientUnaryCall;
  
  ListModels(argument: _admin_v1_ListModelsRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _admin_v1_ListModelsRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _admin_v1_ListModelsRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _admin_v1_ListModelsRequest, callback: grpc.requestCallback<_admin_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _admin_v1_ListModelsRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _admin_v1_ListModelsRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _admin_v1_ListModelsRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _admin_v1_ListModelsRequest, callback: grpc.requestCallback<_admin_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  
  ListNodes(argument: _admin_v1_ListNodesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListNodesResponse__Output>): grpc.ClientUnaryCall;
  ListNodes(argument: _admin_v1_ListNodesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListNodesResponse__Output>): grpc.ClientUnaryCall;
  ListNodes(argument: _admin_v1_ListNodesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListNodesResponse__Output>): grpc.ClientUnaryCall;
  ListNodes(argument: _admin_v1_ListNodesRequest, callback: grpc.requestCallback<_admin_v1_ListNodesResponse__Output>): grpc.ClientUnaryCall;
  listNodes(argument: _admin_v1_ListNodesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListNodesResponse__Output>): grpc.ClientUnaryCall;
  listNodes(argument: _admin_v1_ListNodesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListNodesResponse__Output>): grpc.ClientUnaryCall;
  listNodes(argument: _admin_v1_ListNodesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListNodesResponse__Output>): grpc.ClientUnaryCall;
  listNodes(argument: _admin_v1_ListNodesRequest, callback: grpc.requestCallback<_admin_v1_ListNodesResponse__Output>): grpc.ClientUnaryCall;
  
  ListResources(argument: _admin_v1_ListResourcesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListResourcesResponse__Output>): grpc.ClientUnaryCall;
  ListResources(argument: _admin_v1_ListResourcesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListResourcesResponse__Output>): grpc.ClientUnaryCall;
  ListResources(argument: _admin_v1_ListResourcesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListResourcesResponse__Output>): grpc.ClientUnaryCall;
  ListResources(argument: _admin_v1_ListResourcesRequest, callback: grpc.requestCallback<_admin_v1_ListResourcesResponse__Output>): grpc.ClientUnaryCall;
  listResources(argument: _admin_v1_ListResourcesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListResourcesResponse__Output>): grpc.ClientUnaryCall;
  listResources(argument: _admin_v1_ListResourcesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListResourcesResponse__Output>): grpc.ClientUnaryCall;
  listResources(argument: _admin_v1_ListResourcesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListResourcesResponse__Output>): grpc.ClientUnaryCall;
  listResources(argument: _admin_v1_ListResourcesRequest, callback: grpc.requestCallback<_admin_v1_ListResourcesResponse__Output>): grpc.ClientUnaryCall;
  
  ListUsage(argument: _admin_v1_ListUsageRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  ListUsage(argument: _admin_v1_ListUsageRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  ListUsage(argument: _admin_v1_ListUsageRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  ListUsage(argument: _admin_v1_ListUsageRequest, callback: grpc.requestCallback<_admin_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  listUsage(argument: _admin_v1_ListUsageRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  listUsage(argument: _admin_v1_ListUsageRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  listUsage(argument: _admin_v1_ListUsageRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  listUsage(argument: _admin_v1_ListUsageRequest, callback: grpc.requestCallback<_admin_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  
  OrderDefragmentation(argument: _admin_v1_OrderDefragmentationRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_OrderDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  OrderDefragmentation(argument: _admin_v1_OrderDefragmentationRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_OrderDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  OrderDefragmentation(argument: _admin_v1_OrderDefragmentationRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_OrderDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  OrderDefragmentation(argument: _admin_v1_OrderDefragmentationRequest, callback: grpc.requestCallback<_admin_v1_OrderDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  orderDefragmentation(argument: _admin_v1_OrderDefragmentationRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_OrderDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  orderDefragmentation(argument: _admin_v1_OrderDefragmentationRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_OrderDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  orderDefragmentation(argument: _admin_v1_OrderDefragmentationRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_OrderDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  orderDefragmentation(argument: _admin_v1_OrderDefragmentationRequest, callback: grpc.requestCallback<_admin_v1_OrderDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  
  OrderRollout(argument: _admin_v1_OrderRolloutRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_OrderRolloutResponse__Output>): grpc.ClientUnaryCall;
  OrderRollout(argument: _admin_v1_OrderRolloutRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_OrderRolloutResponse__Output>): grpc.ClientUnaryCall;
  OrderRollout(argument: _admin_v1_OrderRolloutRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_OrderRolloutResponse__Output>): grpc.ClientUnaryCall;
  OrderRollout(argument: _admin_v1_OrderRolloutRequest, callback: grpc.requestCallback<_admin_v1_OrderRolloutResponse__Output>): grpc.ClientUnaryCall;
  orderRollout(argument: _admin_v1_OrderRolloutRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_OrderRolloutResponse__Output>): grpc.ClientUnaryCall;
  orderRollout(argument: _admin_v1_OrderRolloutRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_OrderRolloutResponse__Output>): grpc.ClientUnaryCall;
  orderRollout(argument: _admin_v1_OrderRolloutRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_OrderRolloutResponse__Output>): grpc.ClientUnaryCall;
  orderRollout(argument: _admin_v1_OrderRolloutRequest, callback: grpc.requestCallback<_admin_v1_OrderRolloutResponse__Output>): grpc.ClientUnaryCall;
  
  PlanDefragmentation(argument: _admin_v1_PlanDefragmentationRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_PlanDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  PlanDefragmentation(argument: _admin_v1_PlanDefragmentationRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_PlanDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  PlanDefragmentation(argument: _admin_v1_PlanDefragmentationRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_PlanDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  PlanDefragmentation(argument: _admin_v1_PlanDefragmentationRequest, callback: grpc.requestCallback<_admin_v1_PlanDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  planDefragmentation(argument: _admin_v1_PlanDefragmentationRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_PlanDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  planDefragmentation(argument: _admin_v1_PlanDefragmentationRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_PlanDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  planDefragmentation(argument: _admin_v1_PlanDefragmentationRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_PlanDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  planDefragmentation(argument: _admin_v1_PlanDefragmentationRequest, callback: grpc.requestCallback<_admin_v1_PlanDefragmentationResponse__Output>): grpc.ClientUnaryCall;
  
  PlanResources(argument: _admin_v1_PlanResourcesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_PlanResourcesResponse__Output>): grpc.ClientUnaryCall;
  PlanResources(argument: _admin_v1_PlanResourcesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_PlanResourcesResponse__Output>): grpc.ClientUnaryCall;
  PlanResources(argument: _admin_v1_PlanResourcesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_PlanResourcesResponse__Output>): grpc.ClientUnaryCall;
  PlanResources(argument: _admin_v1_PlanResourcesRequest, callback: grpc.requestCallback<_admin_v1_PlanResourcesResponse__Output>): grpc.ClientUnaryCall;
  planResources(argument: _admin_v1_PlanResourcesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_PlanResourcesResponse__Output>): grpc.ClientUnaryCall;
  planResources(argument: _admin_v1_PlanResourcesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_PlanResourcesResponse__Output>): grpc.ClientUnaryCall;
  planResources(argument: _admin_v1_PlanResourcesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_PlanResourcesResponse__Output>): grpc.ClientUnaryCall;
  planResources(argument: _admin_v1_PlanResourcesRequest, callback: grpc.requestCallback<_admin_v1_PlanResourcesResponse__Output>): grpc.ClientUnaryCall;
  
  Replay(argument: _admin_v1_ReplayRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ReplayResponse__Output>): grpc.ClientUnaryCall;
  Replay(argument: _admin_v1_ReplayRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ReplayResponse__Output>): grpc.ClientUnaryCall;
  Replay(argument: _admin_v1_ReplayRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ReplayResponse__Output>): grpc.ClientUnaryCall;
  Replay(argument: _admin_v1_ReplayRequest, callback: grpc.requestCallback<_admin_v1_ReplayResponse__Output>): grpc.ClientUnaryCall;
  replay(argument: _admin_v1_ReplayRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ReplayResponse__Output>): grpc.ClientUnaryCall;
  replay(argument: _admin_v1_ReplayRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ReplayResponse__Output>): grpc.ClientUnaryCall;
  replay(argument: _admin_v1_ReplayRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ReplayResponse__Output>): grpc.ClientUnaryCall;
  replay(argument: _admin_v1_ReplayRequest, callback: grpc.requestCallback<_admin_v1_ReplayResponse__Output>): grpc.ClientUnaryCall;
  
  RevokeKey(argument: _admin_v1_RevokeKeyRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_RevokeKeyResponse__Output>): grpc.ClientUnaryCall;
  RevokeKey(argument: _admin_v1_RevokeKeyRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_RevokeKeyResponse__Output>): grpc.ClientUnaryCall;
  RevokeKey(argument: _admin_v1_RevokeKeyRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_RevokeKeyResponse__Output>): grpc.ClientUnaryCall;
  RevokeKey(argument: _admin_v1_RevokeKeyRequest, callback: grpc.requestCallback<_admin_v1_RevokeKeyResponse__Output>): grpc.ClientUnaryCall;
  revokeKey(argument: _admin_v1_RevokeKeyRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_RevokeKeyResponse__Output>): grpc.ClientUnaryCall;
  revokeKey(argument: _admin_v1_RevokeKeyRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_RevokeKeyResponse__Output>): grpc.ClientUnaryCall;
  revokeKey(argument: _admin_v1_RevokeKeyRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_RevokeKeyResponse__Output>): grpc.ClientUnaryCall;
  revokeKey(argument: _admin_v1_RevokeKeyRequest, callback: grpc.requestCallback<_admin_v1_RevokeKeyResponse__Output>): grpc.ClientUnaryCall;
  
  RunCommand(argument: _admin_v1_RunCommandRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_admin_v1_RunCommandResponse__Output>;
  RunCommand(argument: _admin_v1_RunCommandRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_admin_v1_RunCommandResponse__Output>;
  runCommand(argument: _admin_v1_RunCommandRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_admin_v1_RunCommandResponse__Output>;
  runCommand(argument: _admin_v1_RunCommandRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_admin_v1_RunCommandResponse__Output>;
  
  SetFreeze(argument: _admin_v1_SetFreezeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_SetFreezeResponse__Output>): grpc.ClientUnaryCall;
  SetFreeze(argument: _admin_v1_SetFreezeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_SetFreezeResponse__Output>): grpc.ClientUnaryCall;
  SetFreeze(argument: _admin_v1_SetFreezeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_SetFreezeResponse__Output>): grpc.ClientUnaryCall;
  SetFreeze(argument: _admin_v1_SetFreezeRequest, callback: grpc.requestCallback<_admin_v1_SetFreezeResponse__Output>): grpc.ClientUnaryCall;
  setFreeze(argument: _admin_v1_SetFreezeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_SetFreezeResponse__Output>): grpc.ClientUnaryCall;
  setFreeze(argument: _admin_v1_SetFreezeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_SetFreezeResponse__Output>): grpc.ClientUnaryCall;
  setFreeze(argument: _admin_v1_SetFreezeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_SetFreezeResponse__Output>): grpc.ClientUnaryCall;
  setFreeze(argument: _admin_v1_SetFreezeRequest, callback: grpc.requestCallback<_admin_v1_SetFreezeResponse__Output>): grpc.ClientUnaryCall;
  
}

export interface AdminHandlers extends grpc.UntypedServiceImplementation {
  ApplyResources: grpc.handleUnaryCall<_admin_v1_ApplyResourcesRequest__Output, _admin_v1_ApplyResourcesResponse>;
  
  CreateKey: grpc.handleUnaryCall<_admin_v1_CreateKeyRequest__Output, _admin_v1_CreateKeyResponse>;
  
  DeleteResources: grpc.handleUnaryCall<_admin_v1_DeleteResourcesRequest__Output, _admin_v1_DeleteResourcesResponse>;
  
  DescribeResource: grpc.handleUnaryCall<_admin_v1_DescribeResourceRequest__Output, _admin_v1_DescribeResourceResponse>;
  
  ExplainDeployment: grpc.handleUnaryCall<_admin_v1_ExplainDeploymentRequest__Output, _admin_v1_ExplainDeploymentResponse>;
  
  ExplainRequest: grpc.handleUnaryCall<_admin_v1_ExplainRequestRequest__Output, _admin_v1_ExplainRequestResponse>;
  
  GetEngine: grpc.handleUnaryCall<_admin_v1_GetEngineRequest__Output, _admin_v1_GetEngineResponse>;
  
  GetFreeze: grpc.handleUnaryCall<_admin_v1_GetFreezeRequest__Output, _admin_v1_GetFreezeResponse>;
  
  GetNode: grpc.handleUnaryCall<_admin_v1_GetNodeRequest__Output, _admin_v1_GetNodeResponse>;
  
  GetResource: grpc.handleUnaryCall<_admin_v1_GetResourceRequest__Output, _admin_v1_GetResourceResponse>;
  
  GetRollout: grpc.handleUnaryCall<_admin_v1_GetRolloutRequest__Output, _admin_v1_GetRolloutResponse>;
  
  GetStatus: grpc.handleUnaryCall<_admin_v1_GetStatusRequest__Output, _admin_v1_GetStatusResponse>;
  
  LiftFreeze: grpc.handleUnaryCall<_admin_v1_LiftFreezeRequest__Output, _admin_v1_LiftFreezeResponse>;
  
  ListEngines: grpc.handleUnaryCall<_admin_v1_ListEnginesRequest__Output, _admin_v1_ListEnginesResponse>;
  
  ListEvents: grpc.handleServerStreamingCall<_admin_v1_ListEventsRequest__Output, _admin_v1_ListEventsResponse>;
  
  ListKeys: grpc.handleUnaryCall<_admin_v1_ListKeysRequest__Output, _admin_v1_ListKeysResponse>;
  
  ListModels: grpc.handleUnaryCall<_admin_v1_ListModelsRequest__Output, _admin_v1_ListModelsResponse>;
  
  ListNodes: grpc.handleUnaryCall<_admin_v1_ListNodesRequest__Output, _admin_v1_ListNodesResponse>;
  
  ListResources: grpc.handleUnaryCall<_admin_v1_ListResourcesRequest__Output, _admin_v1_ListResourcesResponse>;
  
  ListUsage: grpc.handleUnaryCall<_admin_v1_ListUsageRequest__Output, _admin_v1_ListUsageResponse>;
  
  OrderDefragmentation: grpc.handleUnaryCall<_admin_v1_OrderDefragmentationRequest__Output, _admin_v1_OrderDefragmentationResponse>;
  
  OrderRollout: grpc.handleUnaryCall<_admin_v1_OrderRolloutRequest__Output, _admin_v1_OrderRolloutResponse>;
  
  PlanDefragmentation: grpc.handleUnaryCall<_admin_v1_PlanDefragmentationRequest__Output, _admin_v1_PlanDefragmentationResponse>;
  
  PlanResources: grpc.handleUnaryCall<_admin_v1_PlanResourcesRequest__Output, _admin_v1_PlanResourcesResponse>;
  
  Replay: grpc.handleUnaryCall<_admin_v1_ReplayRequest__Output, _admin_v1_ReplayResponse>;
  
  RevokeKey: grpc.handleUnaryCall<_admin_v1_RevokeKeyRequest__Output, _admin_v1_RevokeKeyResponse>;
  
  RunCommand: grpc.handleServerStreamingCall<_admin_v1_RunCommandRequest__Output, _admin_v1_RunCommandResponse>;
  
  SetFreeze: grpc.handleUnaryCall<_admin_v1_SetFreezeRequest__Output, _admin_v1_SetFreezeResponse>;
  
}

export interface AdminDefinition extends grpc.ServiceDefinition {
  ApplyResources: MethodDefinition<_admin_v1_ApplyResourcesRequest, _admin_v1_ApplyResourcesResponse, _admin_v1_ApplyResourcesRequest__Output, _admin_v1_ApplyResourcesResponse__Output>
  CreateKey: MethodDefinition<_admin_v1_CreateKeyRequest, _admin_v1_CreateKeyResponse, _admin_v1_CreateKeyRequest__Output, _admin_v1_CreateKeyResponse__Output>
  DeleteResources: MethodDefinition<_admin_v1_DeleteResourcesRequest, _admin_v1_DeleteResourcesResponse, _admin_v1_DeleteResourcesRequest__Output, _admin_v1_DeleteResourcesResponse__Output>
  DescribeResource: MethodDefinition<_admin_v1_DescribeResourceRequest, _admin_v1_DescribeResourceResponse, _admin_v1_DescribeResourceRequest__Output, _admin_v1_DescribeResourceResponse__Output>
  ExplainDeployment: MethodDefinition<_admin_v1_ExplainDeploymentRequest, _admin_v1_ExplainDeploymentResponse, _admin_v1_ExplainDeploymentRequest__Output, _admin_v1_ExplainDeploymentResponse__Output>
  ExplainRequest: MethodDefinition<_admin_v1_ExplainRequestRequest, _admin_v1_ExplainRequestResponse, _admin_v1_ExplainRequestRequest__Output, _admin_v1_ExplainRequestResponse__Output>
  GetEngine: MethodDefinition<_admin_v1_GetEngineRequest, _admin_v1_GetEngineResponse, _admin_v1_GetEngineRequest__Output, _admin_v1_GetEngineResponse__Output>
  GetFreeze: MethodDefinition<_admin_v1_GetFreezeRequest, _admin_v1_GetFreezeResponse, _admin_v1_GetFreezeRequest__Output, _admin_v1_GetFreezeResponse__Output>
  GetNode: MethodDefinition<_admin_v1_GetNodeRequest, _admin_v1_GetNodeResponse, _admin_v1_GetNodeRequest__Output, _admin_v1_GetNodeResponse__Output>
  GetResource: MethodDefinition<_admin_v1_GetResourceRequest, _admin_v1_GetResourceResponse, _admin_v1_GetResourceRequest__Output, _admin_v1_GetResourceResponse__Output>
  GetRollout: MethodDefinition<_admin_v1_GetRolloutRequest, _admin_v1_GetRolloutResponse, _admin_v1_GetRolloutRequest__Output, _admin_v1_GetRolloutResponse__Output>
  GetStatus: MethodDefinition<_admin_v1_GetStatusRequest, _admin_v1_GetStatusResponse, _admin_v1_GetStatusRequest__Output, _admin_v1_GetStatusResponse__Output>
  LiftFreeze: MethodDefinition<_admin_v1_LiftFreezeRequest, _admin_v1_LiftFreezeResponse, _admin_v1_LiftFreezeRequest__Output, _admin_v1_LiftFreezeResponse__Output>
  ListEngines: MethodDefinition<_admin_v1_ListEnginesRequest, _admin_v1_ListEnginesResponse, _admin_v1_ListEnginesRequest__Output, _admin_v1_ListEnginesResponse__Output>
  ListEvents: MethodDefinition<_admin_v1_ListEventsRequest, _admin_v1_ListEventsResponse, _admin_v1_ListEventsRequest__Output, _admin_v1_ListEventsResponse__Output>
  ListKeys: MethodDefinition<_admin_v1_ListKeysRequest, _admin_v1_ListKeysResponse, _admin_v1_ListKeysRequest__Output, _admin_v1_ListKeysResponse__Output>
  ListModels: MethodDefinition<_admin_v1_ListModelsRequest, _admin_v1_ListModelsResponse, _admin_v1_ListModelsRequest__Output, _admin_v1_ListModelsResponse__Output>
  ListNodes: MethodDefinition<_admin_v1_ListNodesRequest, _admin_v1_ListNodesResponse, _admin_v1_ListNodesRequest__Output, _admin_v1_ListNodesResponse__Output>
  ListResources: MethodDefinition<_admin_v1_ListResourcesRequest, _admin_v1_ListResourcesResponse, _admin_v1_ListResourcesRequest__Output, _admin_v1_ListResourcesResponse__Output>
  ListUsage: MethodDefinition<_admin_v1_ListUsageRequest, _admin_v1_ListUsageResponse, _admin_v1_ListUsageRequest__Output, _admin_v1_ListUsageResponse__Output>
  OrderDefragmentation: MethodDefinition<_admin_v1_OrderDefragmentationRequest, _admin_v1_OrderDefragmentationResponse, _admin_v1_OrderDefragmentationRequest__Output, _admin_v1_OrderDefragmentationResponse__Output>
  OrderRollout: MethodDefinition<_admin_v1_OrderRolloutRequest, _admin_v1_OrderRolloutResponse, _admin_v1_OrderRolloutRequest__Output, _admin_v1_OrderRolloutResponse__Output>
  PlanDefragmentation: MethodDefinition<_admin_v1_PlanDefragmentationRequest, _admin_v1_PlanDefragmentationResponse, _admin_v1_PlanDefragmentationRequest__Output, _admin_v1_PlanDefragmentationResponse__Output>
  PlanResources: MethodDefinition<_admin_v1_PlanResourcesRequest, _admin_v1_PlanResourcesResponse, _admin_v1_PlanResourcesRequest__Output, _admin_v1_PlanResourcesResponse__Output>
  Replay: MethodDefinition<_admin_v1_ReplayRequest, _admin_v1_ReplayResponse, _admin_v1_ReplayRequest__Output, _admin_v1_ReplayResponse__Output>
  RevokeKey: MethodDefinition<_admin_v1_RevokeKeyRequest, _admin_v1_RevokeKeyResponse, _admin_v1_RevokeKeyRequest__Output, _admin_v1_RevokeKeyResponse__Output>
  RunCommand: MethodDefinition<_admin_v1_RunCommandRequest, _admin_v1_RunCommandResponse, _admin_v1_RunCommandRequest__Output, _admin_v1_RunCommandResponse__Output>
  SetFreeze: MethodDefinition<_admin_v1_SetFreezeRequest, _admin_v1_SetFreezeResponse, _admin_v1_SetFreezeRequest__Output, _admin_v1_SetFreezeResponse__Output>
}
