// Original file: admin/v1/admin.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { CreateKeyRequest as _admin_v1_CreateKeyRequest, CreateKeyRequest__Output as _admin_v1_CreateKeyRequest__Output } from '../../admin/v1/CreateKeyRequest.ts';
import type { CreateKeyResponse as _admin_v1_CreateKeyResponse, CreateKeyResponse__Output as _admin_v1_CreateKeyResponse__Output } from '../../admin/v1/CreateKeyResponse.ts';
import type { ExplainDeploymentRequest as _admin_v1_ExplainDeploymentRequest, ExplainDeploymentRequest__Output as _admin_v1_ExplainDeploymentRequest__Output } from '../../admin/v1/ExplainDeploymentRequest.ts';
import type { ExplainDeploymentResponse as _admin_v1_ExplainDeploymentResponse, ExplainDeploymentResponse__Output as _admin_v1_ExplainDeploymentResponse__Output } from '../../admin/v1/ExplainDeploymentResponse.ts';
import type { ExplainRequestRequest as _admin_v1_ExplainRequestRequest, ExplainRequestRequest__Output as _admin_v1_ExplainRequestRequest__Output } from '../../admin/v1/ExplainRequestRequest.ts';
import type { ExplainRequestResponse as _admin_v1_ExplainRequestResponse, ExplainRequestResponse__Output as _admin_v1_ExplainRequestResponse__Output } from '../../admin/v1/ExplainRequestResponse.ts';
import type { GetEngineRequest as _admin_v1_GetEngineRequest, GetEngineRequest__Output as _admin_v1_GetEngineRequest__Output } from '../../admin/v1/GetEngineRequest.ts';
import type { GetEngineResponse as _admin_v1_GetEngineResponse, GetEngineResponse__Output as _admin_v1_GetEngineResponse__Output } from '../../admin/v1/GetEngineResponse.ts';
import type { GetNodeRequest as _admin_v1_GetNodeRequest, GetNodeRequest__Output as _admin_v1_GetNodeRequest__Output } from '../../admin/v1/GetNodeRequest.ts';
import type { GetNodeResponse as _admin_v1_GetNodeResponse, GetNodeResponse__Output as _admin_v1_GetNodeResponse__Output } from '../../admin/v1/GetNodeResponse.ts';
import type { GetStatusRequest as _admin_v1_GetStatusRequest, GetStatusRequest__Output as _admin_v1_GetStatusRequest__Output } from '../../admin/v1/GetStatusRequest.ts';
import type { GetStatusResponse as _admin_v1_GetStatusResponse, GetStatusResponse__Output as _admin_v1_GetStatusResponse__Output } from '../../admin/v1/GetStatusResponse.ts';
import type { ListEnginesRequest as _admin_v1_ListEnginesRequest, ListEnginesRequest__Output as _admin_v1_ListEnginesRequest__Output } from '../../admin/v1/ListEnginesRequest.ts';
import type { ListEnginesResponse as _admin_v1_ListEnginesResponse, ListEnginesResponse__Output as _admin_v1_ListEnginesResponse__Output } from '../../admin/v1/ListEnginesResponse.ts';
import type { ListKeysRequest as _admin_v1_ListKeysRequest, ListKeysRequest__Output as _admin_v1_ListKeysRequest__Output } from '../../admin/v1/ListKeysRequest.ts';
import type { ListKeysResponse as _admin_v1_ListKeysResponse, ListKeysResponse__Output as _admin_v1_ListKeysResponse__Output } from '../../admin/v1/ListKeysResponse.ts';
import type { ListModelsRequest as _admin_v1_ListModelsRequest, ListModelsRequest__Output as _admin_v1_ListModelsRequest__Output } from '../../admin/v1/ListModelsRequest.ts';
import type { ListModelsResponse as _admin_v1_ListModelsResponse, ListModelsResponse__Output as _admin_v1_ListModelsResponse__Output } from '../../admin/v1/ListModelsResponse.ts';
import type { ListNodesRequest as _admin_v1_ListNodesRequest, ListNodesRequest__Output as _admin_v1_ListNodesRequest__Output } from '../../admin/v1/ListNodesRequest.ts';
import type { ListNodesResponse as _admin_v1_ListNodesResponse, ListNodesResponse__Output as _admin_v1_ListNodesResponse__Output } from '../../admin/v1/ListNodesResponse.ts';
import type { RevokeKeyRequest as _admin_v1_RevokeKeyRequest, RevokeKeyRequest__Output as _admin_v1_RevokeKeyRequest__Output } from '../../admin/v1/RevokeKeyRequest.ts';
import type { RevokeKeyResponse as _admin_v1_RevokeKeyResponse, RevokeKeyResponse__Output as _admin_v1_RevokeKeyResponse__Output } from '../../admin/v1/RevokeKeyResponse.ts';
import type { RunCommandRequest as _admin_v1_RunCommandRequest, RunCommandRequest__Output as _admin_v1_RunCommandRequest__Output } from '../../admin/v1/RunCommandRequest.ts';
import type { RunCommandResponse as _admin_v1_RunCommandResponse, RunCommandResponse__Output as _admin_v1_RunCommandResponse__Output } from '../../admin/v1/RunCommandResponse.ts';

export interface AdminClient extends grpc.Client {
  CreateKey(argument: _admin_v1_CreateKeyRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  CreateKey(argument: _admin_v1_CreateKeyRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  CreateKey(argument: _admin_v1_CreateKeyRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  CreateKey(argument: _admin_v1_CreateKeyRequest, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  createKey(argument: _admin_v1_CreateKeyRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  createKey(argument: _admin_v1_CreateKeyRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  createKey(argument: _admin_v1_CreateKeyRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  createKey(argument: _admin_v1_CreateKeyRequest, callback: grpc.requestCallback<_admin_v1_CreateKeyResponse__Output>): grpc.ClientUnaryCall;
  
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
  
  GetNode(argument: _admin_v1_GetNodeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  GetNode(argument: _admin_v1_GetNodeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  GetNode(argument: _admin_v1_GetNodeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  GetNode(argument: _admin_v1_GetNodeRequest, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  getNode(argument: _admin_v1_GetNodeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  getNode(argument: _admin_v1_GetNodeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  getNode(argument: _admin_v1_GetNodeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  getNode(argument: _admin_v1_GetNodeRequest, callback: grpc.requestCallback<_admin_v1_GetNodeResponse__Output>): grpc.ClientUnaryCall;
  
  GetStatus(argument: _admin_v1_GetStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _admin_v1_GetStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _admin_v1_GetStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  GetStatus(argument: _admin_v1_GetStatusRequest, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _admin_v1_GetStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _admin_v1_GetStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _admin_v1_GetStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  getStatus(argument: _admin_v1_GetStatusRequest, callback: grpc.requestCallback<_admin_v1_GetStatusResponse__Output>): grpc.ClientUnaryCall;
  
  ListEngines(argument: _admin_v1_ListEnginesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  ListEngines(argument: _admin_v1_ListEnginesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  ListEngines(argument: _admin_v1_ListEnginesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  ListEngines(argument: _admin_v1_ListEnginesRequest, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  listEngines(argument: _admin_v1_ListEnginesRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  listEngines(argument: _admin_v1_ListEnginesRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  listEngines(argument: _admin_v1_ListEnginesRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  listEngines(argument: _admin_v1_ListEnginesRequest, callback: grpc.requestCallback<_admin_v1_ListEnginesResponse__Output>): grpc.ClientUnaryCall;
  
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
  
}

export interface AdminHandlers extends grpc.UntypedServiceImplementation {
  CreateKey: grpc.handleUnaryCall<_admin_v1_CreateKeyRequest__Output, _admin_v1_CreateKeyResponse>;
  
  ExplainDeployment: grpc.handleUnaryCall<_admin_v1_ExplainDeploymentRequest__Output, _admin_v1_ExplainDeploymentResponse>;
  
  ExplainRequest: grpc.handleUnaryCall<_admin_v1_ExplainRequestRequest__Output, _admin_v1_ExplainRequestResponse>;
  
  GetEngine: grpc.handleUnaryCall<_admin_v1_GetEngineRequest__Output, _admin_v1_GetEngineResponse>;
  
  GetNode: grpc.handleUnaryCall<_admin_v1_GetNodeRequest__Output, _admin_v1_GetNodeResponse>;
  
  GetStatus: grpc.handleUnaryCall<_admin_v1_GetStatusRequest__Output, _admin_v1_GetStatusResponse>;
  
  ListEngines: grpc.handleUnaryCall<_admin_v1_ListEnginesRequest__Output, _admin_v1_ListEnginesResponse>;
  
  ListKeys: grpc.handleUnaryCall<_admin_v1_ListKeysRequest__Output, _admin_v1_ListKeysResponse>;
  
  ListModels: grpc.handleUnaryCall<_admin_v1_ListModelsRequest__Output, _admin_v1_ListModelsResponse>;
  
  ListNodes: grpc.handleUnaryCall<_admin_v1_ListNodesRequest__Output, _admin_v1_ListNodesResponse>;
  
  RevokeKey: grpc.handleUnaryCall<_admin_v1_RevokeKeyRequest__Output, _admin_v1_RevokeKeyResponse>;
  
  RunCommand: grpc.handleServerStreamingCall<_admin_v1_RunCommandRequest__Output, _admin_v1_RunCommandResponse>;
  
}

export interface AdminDefinition extends grpc.ServiceDefinition {
  CreateKey: MethodDefinition<_admin_v1_CreateKeyRequest, _admin_v1_CreateKeyResponse, _admin_v1_CreateKeyRequest__Output, _admin_v1_CreateKeyResponse__Output>
  ExplainDeployment: MethodDefinition<_admin_v1_ExplainDeploymentRequest, _admin_v1_ExplainDeploymentResponse, _admin_v1_ExplainDeploymentRequest__Output, _admin_v1_ExplainDeploymentResponse__Output>
  ExplainRequest: MethodDefinition<_admin_v1_ExplainRequestRequest, _admin_v1_ExplainRequestResponse, _admin_v1_ExplainRequestRequest__Output, _admin_v1_ExplainRequestResponse__Output>
  GetEngine: MethodDefinition<_admin_v1_GetEngineRequest, _admin_v1_GetEngineResponse, _admin_v1_GetEngineRequest__Output, _admin_v1_GetEngineResponse__Output>
  GetNode: MethodDefinition<_admin_v1_GetNodeRequest, _admin_v1_GetNodeResponse, _admin_v1_GetNodeRequest__Output, _admin_v1_GetNodeResponse__Output>
  GetStatus: MethodDefinition<_admin_v1_GetStatusRequest, _admin_v1_GetStatusResponse, _admin_v1_GetStatusRequest__Output, _admin_v1_GetStatusResponse__Output>
  ListEngines: MethodDefinition<_admin_v1_ListEnginesRequest, _admin_v1_ListEnginesResponse, _admin_v1_ListEnginesRequest__Output, _admin_v1_ListEnginesResponse__Output>
  ListKeys: MethodDefinition<_admin_v1_ListKeysRequest, _admin_v1_ListKeysResponse, _admin_v1_ListKeysRequest__Output, _admin_v1_ListKeysResponse__Output>
  ListModels: MethodDefinition<_admin_v1_ListModelsRequest, _admin_v1_ListModelsResponse, _admin_v1_ListModelsRequest__Output, _admin_v1_ListModelsResponse__Output>
  ListNodes: MethodDefinition<_admin_v1_ListNodesRequest, _admin_v1_ListNodesResponse, _admin_v1_ListNodesRequest__Output, _admin_v1_ListNodesResponse__Output>
  RevokeKey: MethodDefinition<_admin_v1_RevokeKeyRequest, _admin_v1_RevokeKeyResponse, _admin_v1_RevokeKeyRequest__Output, _admin_v1_RevokeKeyResponse__Output>
  RunCommand: MethodDefinition<_admin_v1_RunCommandRequest, _admin_v1_RunCommandResponse, _admin_v1_RunCommandRequest__Output, _admin_v1_RunCommandResponse__Output>
}
