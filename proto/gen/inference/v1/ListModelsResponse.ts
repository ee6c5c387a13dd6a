// Original file: inference/v1/inference.proto

import type { Model as _inference_v1_Model, Model__Output as _inference_v1_Model__Output } from '../../inference/v1/Model.ts';

export interface ListModelsResponse {
  'models'?: (_inference_v1_Model)[];
}

export interface ListModelsResponse__Output {
  'models': (_inference_v1_Model__Output)[];
}
