// Original file: inference/v1/inference.proto

import type { Envelope as _inference_v1_Envelope, Envelope__Output as _inference_v1_Envelope__Output } from '../../inference/v1/Envelope.ts';

export interface Start {
  'stream'?: (number);
  'envelope'?: (_inference_v1_Envelope | null);
  'body'?: (Buffer | Uint8Array | string);
  'creditBytes'?: (number);
  'resumeAfter'?: (number);
  '_creditBytes'?: "creditBytes";
  '_resumeAfter'?: "resumeAfter";
}

export interface Start__Output {
  'stream': (number);
  'envelope': (_inference_v1_Envelope__Output | null);
  'body': (Buffer);
  'creditBytes'?: (number);
  'resumeAfter'?: (number);
  '_creditBytes'?: "creditBytes";
  '_resumeAfter'?: "resumeAfter";
}
