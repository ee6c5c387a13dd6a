import type * as grpc from '@grpc/grpc-js';
import type { EnumTypeDefinition, MessageTypeDefinition } from '@grpc/proto-loader';

import type { CancelRequest as _inference_v1_CancelRequest, CancelRequest__Output as _inference_v1_CancelRequest__Output } from './inference/v1/CancelRequest.ts';
import type { CancelResponse as _inference_v1_CancelResponse, CancelResponse__Output as _inference_v1_CancelResponse__Output } from './inference/v1/CancelResponse.ts';
import type { Credit as _inference_v1_Credit, Credit__Output as _inference_v1_Credit__Output } from './inference/v1/Credit.ts';
import type { Envelope as _inference_v1_Envelope, Envelope__Output as _inference_v1_Envelope__Output } from './inference/v1/Envelope.ts';
import type { GenerateManyRequest as _inference_v1_GenerateManyRequest, GenerateManyRequest__Output as _inference_v1_GenerateManyRequest__Output } from './inference/v1/GenerateManyRequest.ts';
import type { GenerateManyResponse as _inference_v1_GenerateManyResponse, GenerateManyResponse__Output as _inference_v1_GenerateManyResponse__Output } from './inference/v1/GenerateManyResponse.ts';
import type { GenerateRequest as _inference_v1_GenerateRequest, GenerateRequest__Output as _inference_v1_GenerateRequest__Output } from './inference/v1/GenerateRequest.ts';
import type { GenerateResponse as _inference_v1_GenerateResponse, GenerateResponse__Output as _inference_v1_GenerateResponse__Output } from './inference/v1/GenerateResponse.ts';
import type { InferenceClient as _inference_v1_InferenceClient, InferenceDefinition as _inference_v1_InferenceDefinition } from './inference/v1/Inference.ts';
import type { ListModelsRequest as _inference_v1_ListModelsRequest, ListModelsRequest__Output as _inference_v1_ListModelsRequest__Output } from './inference/v1/ListModelsRequest.ts';
import type { ListModelsResponse as _inference_v1_ListModelsResponse, ListModelsResponse__Output as _inference_v1_ListModelsResponse__Output } from './inference/v1/ListModelsResponse.ts';
import type { Model as _inference_v1_Model, Model__Output as _inference_v1_Model__Output } from './inference/v1/Model.ts';
import type { Queued as _inference_v1_Queued, Queued__Output as _inference_v1_Queued__Output } from './inference/v1/Queued.ts';
import type { RouteRequest as _inference_v1_RouteRequest, RouteRequest__Output as _inference_v1_RouteRequest__Output } from './inference/v1/RouteRequest.ts';
import type { RouteResponse as _inference_v1_RouteResponse, RouteResponse__Output as _inference_v1_RouteResponse__Output } from './inference/v1/RouteResponse.ts';
import type { Start as _inference_v1_Start, Start__Output as _inference_v1_Start__Output } from './inference/v1/Start.ts';
import type { Usage as _inference_v1_Usage, Usage__Output as _inference_v1_Usage__Output } from './inference/v1/Usage.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  inference: {
    v1: {
      CancelRequest: MessageTypeDefinition<_inference_v1_CancelRequest, _inference_v1_CancelRequest__Output>
      CancelResponse: MessageTypeDefinition<_inference_v1_CancelResponse, _inference_v1_CancelResponse__Output>
      Credit: MessageTypeDefinition<_inference_v1_Credit, _inference_v1_Credit__Output>
      Endpoint: EnumTypeDefinition
      EntryKind: EnumTypeDefinition
      Envelope: MessageTypeDefinition<_inference_v1_Envelope, _inference_v1_Envelope__Output>
      GenerateManyRequest: MessageTypeDefinition<_inference_v1_GenerateManyRequest, _inference_v1_GenerateManyRequest__Output>
      GenerateManyResponse: MessageTypeDefinition<_inference_v1_GenerateManyResponse, _inference_v1_GenerateManyResponse__Output>
      GenerateRequest: MessageTypeDefinition<_inference_v1_GenerateRequest, _inference_v1_GenerateRequest__Output>
      GenerateResponse: MessageTypeDefinition<_inference_v1_GenerateResponse, _inference_v1_GenerateResponse__Output>
      Inference: SubtypeConstructor<typeof grpc.Client, _inference_v1_InferenceClient> & { service: _inference_v1_InferenceDefinition }
      ListModelsRequest: MessageTypeDefinition<_inference_v1_ListModelsRequest, _inference_v1_ListModelsRequest__Output>
      ListModelsResponse: MessageTypeDefinition<_inference_v1_ListModelsResponse, _inference_v1_ListModelsResponse__Output>
      Model: MessageTypeDefinition<_inference_v1_Model, _inference_v1_Model__Output>
      Queued: MessageTypeDefinition<_inference_v1_Queued, _inference_v1_Queued__Output>
      RouteRequest: MessageTypeDefinition<_inference_v1_RouteRequest, _inference_v1_RouteRequest__Output>
      RouteResponse: MessageTypeDefinition<_inference_v1_RouteResponse, _inference_v1_RouteResponse__Output>
      Start: MessageTypeDefinition<_inference_v1_Start, _inference_v1_Start__Output>
      Usage: MessageTypeDefinition<_inference_v1_Usage, _inference_v1_Usage__Output>
    }
  }
}

