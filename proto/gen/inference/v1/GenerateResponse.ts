// Original file: inference/v1/inference.proto

import type { Usage as _inference_v1_Usage, Usage__Output as _inference_v1_Usage__Output } from '../../inference/v1/Usage.ts';
import type { Queued as _inference_v1_Queued, Queued__Output as _inference_v1_Queued__Output } from '../../inference/v1/Queued.ts';

export interface GenerateResponse {
  'chunk'?: (Buffer | Uint8Array | string);
  'tokenIds'?: (number)[];
  'usage'?: (_inference_v1_Usage | null);
  'requestId'?: (string);
  'queued'?: (_inference_v1_Queued | null);
}

export interface GenerateResponse__Output {
  'chunk': (Buffer);
  'tokenIds': (number)[];
  'usage': (_inference_v1_Usage__Output | null);
  'requestId': (string);
  'queued': (_inference_v1_Queued__Output | null);
}
