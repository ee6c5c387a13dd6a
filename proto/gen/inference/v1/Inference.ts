// Original file: inference/v1/inference.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { CancelRequest as _inference_v1_CancelRequest, CancelRequest__Output as _inference_v1_CancelRequest__Output } from '../../inference/v1/CancelRequest.ts';
import type { CancelResponse as _inference_v1_CancelResponse, CancelResponse__Output as _inference_v1_CancelResponse__Output } from '../../inference/v1/CancelResponse.ts';
import type { GenerateManyRequest as _inference_v1_GenerateManyRequest, GenerateManyRequest__Output as _inference_v1_GenerateManyRequest__Output } from '../../inference/v1/GenerateManyRequest.ts';
import type { GenerateManyResponse as _inference_v1_GenerateManyResponse, GenerateManyResponse__Output as _inference_v1_GenerateManyResponse__Output } from '../../inference/v1/GenerateManyResponse.ts';
import type { GenerateRequest as _inference_v1_GenerateRequest, GenerateRequest__Output as _inference_v1_GenerateRequest__Output } from '../../inference/v1/GenerateRequest.ts';
import type { GenerateResponse as _inference_v1_GenerateResponse, GenerateResponse__Output as _inference_v1_GenerateResponse__Output } from '../../inference/v1/GenerateResponse.ts';
import type { ListModelsRequest as _inference_v1_ListModelsRequest, ListModelsRequest__Output as _inference_v1_ListModelsRequest__Output } from '../../inference/v1/ListModelsRequest.ts';
import type { ListModelsResponse as _inference_v1_ListModelsResponse, ListModelsResponse__Output as _inference_v1_ListModelsResponse__Output } from '../../inference/v1/ListModelsResponse.ts';
import type { RouteRequest as _inference_v1_RouteRequest, RouteRequest__Output as _inference_v1_RouteRequest__Output } from '../../inference/v1/RouteRequest.ts';
import type { RouteResponse as _inference_v1_RouteResponse, RouteResponse__Output as _inference_v1_RouteResponse__Output } from '../../inference/v1/RouteResponse.ts';

export interface InferenceClient extends grpc.Client {
  Cancel(argument: _inference_v1_CancelRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_CancelResponse__Output>): grpc.ClientUnaryCall;
  Cancel(argument: _inference_v1_CancelRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_inference_v1_CancelResponse__Output>): grpc.ClientUnaryCall;
  Cancel(argument: _inference_v1_CancelRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_CancelResponse__Output>): grpc.ClientUnaryCall;
  Cancel(argument: _inference_v1_CancelRequest, callback: grpc.requestCallback<_inference_v1_CancelResponse__Output>): grpc.ClientUnaryCall;
  cancel(argument: _inference_v1_CancelRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_CancelResponse__Output>): grpc.ClientUnaryCall;
  cancel(argument: _inference_v1_CancelRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_inference_v1_CancelResponse__Output>): grpc.ClientUnaryCall;
  cancel(argument: _inference_v1_CancelRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_CancelResponse__Output>): grpc.ClientUnaryCall;
  cancel(argument: _inference_v1_CancelRequest, callback: grpc.requestCallback<_inference_v1_CancelResponse__Output>): grpc.ClientUnaryCall;
  
  Generate(argument: _inference_v1_GenerateRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_inference_v1_GenerateResponse__Output>;
  Generate(argument: _inference_v1_GenerateRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_inference_v1_GenerateResponse__Output>;
  generate(argument: _inference_v1_GenerateRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_inference_v1_GenerateResponse__Output>;
  generate(argument: _inference_v1_GenerateRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_inference_v1_GenerateResponse__Output>;
  
  GenerateMany(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_inference_v1_GenerateManyRequest, _inference_v1_GenerateManyResponse__Output>;
  GenerateMany(options?: grpc.CallOptions): grpc.ClientDuplexStream<_inference_v1_GenerateManyRequest, _inference_v1_GenerateManyResponse__Output>;
  generateMany(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_inference_v1_GenerateManyRequest, _inference_v1_GenerateManyResponse__Output>;
  generateMany(options?: grpc.CallOptions): grpc.ClientDuplexStream<_inference_v1_GenerateManyRequest, _inference_v1_GenerateManyResponse__Output>;
  
  ListModels(argument: _inference_v1_ListModelsRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _inference_v1_ListModelsRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_inference_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _inference_v1_ListModelsRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  ListModels(argument: _inference_v1_ListModelsRequest, callback: grpc.requestCallback<_inference_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _inference_v1_ListModelsRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _inference_v1_ListModelsRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_inference_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _inference_v1_ListModelsRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  listModels(argument: _inference_v1_ListModelsRequest, callback: grpc.requestCallback<_inference_v1_ListModelsResponse__Output>): grpc.ClientUnaryCall;
  
  Route(argument: _inference_v1_RouteRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_RouteResponse__Output>): grpc.ClientUnaryCall;
  Route(argument: _inference_v1_RouteRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_inference_v1_RouteResponse__Output>): grpc.ClientUnaryCall;
  Route(argument: _inference_v1_RouteRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_RouteResponse__Output>): grpc.ClientUnaryCall;
  Route(argument: _inference_v1_RouteRequest, callback: grpc.requestCallback<_inference_v1_RouteResponse__Output>): grpc.ClientUnaryCall;
  route(argument: _inference_v1_RouteRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_RouteResponse__Output>): grpc.ClientUnaryCall;
  route(argument: _inference_v1_RouteRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_inference_v1_RouteResponse__Output>): grpc.ClientUnaryCall;
  route(argument: _inference_v1_RouteRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_inference_v1_RouteResponse__Output>): grpc.ClientUnaryCall;
  route(argument: _inference_v1_RouteRequest, callback: grpc.requestCallback<_inference_v1_RouteResponse__Output>): grpc.ClientUnaryCall;
  
}

export interface InferenceHandlers extends grpc.UntypedServiceImplementation {
  Cancel: grpc.handleUnaryCall<_inference_v1_CancelRequest__Output, _inference_v1_CancelResponse>;
  
  Generate: grpc.handleServerStreamingCall<_inference_v1_GenerateRequest__Output, _inference_v1_GenerateResponse>;
  
  GenerateMany: grpc.handleBidiStreamingCall<_inference_v1_GenerateManyRequest__Output, _inference_v1_GenerateManyResponse>;
  
  ListModels: grpc.handleUnaryCall<_inference_v1_ListModelsRequest__Output, _inference_v1_ListModelsResponse>;
  
  Route: grpc.handleUnaryCall<_inference_v1_RouteRequest__Output, _inference_v1_RouteResponse>;
  
}

export interface InferenceDefinition extends grpc.ServiceDefinition {
  Cancel: MethodDefinition<_inference_v1_CancelRequest, _inference_v1_CancelResponse, _inference_v1_CancelRequest__Output, _inference_v1_CancelResponse__Output>
  Generate: MethodDefinition<_inference_v1_GenerateRequest, _inference_v1_GenerateResponse, _inference_v1_GenerateRequest__Output, _inference_v1_GenerateResponse__Output>
  GenerateMany: MethodDefinition<_inference_v1_GenerateManyRequest, _inference_v1_GenerateManyResponse, _inference_v1_GenerateManyRequest__Output, _inference_v1_GenerateManyResponse__Output>
  ListModels: MethodDefinition<_inference_v1_ListModelsRequest, _inference_v1_ListModelsResponse, _inference_v1_ListModelsRequest__Output, _inference_v1_ListModelsResponse__Output>
  Route: MethodDefinition<_inference_v1_RouteRequest, _inference_v1_RouteResponse, _inference_v1_RouteRequest__Output, _inference_v1_RouteResponse__Output>
}
