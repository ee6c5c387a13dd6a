// Original file: inference/v1/inference.proto

import type { Start as _inference_v1_Start, Start__Output as _inference_v1_Start__Output } from '../../inference/v1/Start.ts';
import type { Credit as _inference_v1_Credit, Credit__Output as _inference_v1_Credit__Output } from '../../inference/v1/Credit.ts';

export interface GenerateManyRequest {
  'start'?: (_inference_v1_Start)[];
  'credit'?: (_inference_v1_Credit)[];
  'cancel'?: (number)[];
}

export interface GenerateManyRequest__Output {
  'start': (_inference_v1_Start__Output)[];
  'credit': (_inference_v1_Credit__Output)[];
  'cancel': (number)[];
}
