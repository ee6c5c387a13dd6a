// Original file: inference/v1/inference.proto

import type { Envelope as _inference_v1_Envelope, Envelope__Output as _inference_v1_Envelope__Output } from '../../inference/v1/Envelope.ts';

export interface RouteRequest {
  'envelope'?: (_inference_v1_Envelope | null);
  'body'?: (Buffer | Uint8Array | string);
  'bodySha256'?: (Buffer | Uint8Array | string);
}

export interface RouteRequest__Output {
  'envelope': (_inference_v1_Envelope__Output | null);
  'body': (Buffer);
  'bodySha256': (Buffer);
}
