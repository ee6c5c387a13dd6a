// Original file: inference/v1/inference.proto

import type { EntryKind as _inference_v1_EntryKind, EntryKind__Output as _inference_v1_EntryKind__Output } from '../../inference/v1/EntryKind.ts';

export interface GenerateManyResponse {
  'stream'?: (number)[];
  'kind'?: (_inference_v1_EntryKind)[];
  'size'?: (number)[];
  'data'?: (Buffer | Uint8Array | string);
}

export interface GenerateManyResponse__Output {
  'stream': (number)[];
  'kind': (_inference_v1_EntryKind__Output)[];
  'size': (number)[];
  'data': (Buffer);
}
