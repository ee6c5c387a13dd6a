// Original file: inference/v1/inference.proto

export const Endpoint = {
  ENDPOINT_UNSPECIFIED: 'ENDPOINT_UNSPECIFIED',
  ENDPOINT_CHAT_COMPLETIONS: 'ENDPOINT_CHAT_COMPLETIONS',
  ENDPOINT_COMPLETIONS: 'ENDPOINT_COMPLETIONS',
  ENDPOINT_EMBEDDINGS: 'ENDPOINT_EMBEDDINGS',
} as const;

export type Endpoint =
  | 'ENDPOINT_UNSPECIFIED'
  | 0
  | 'ENDPOINT_CHAT_COMPLETIONS'
  | 1
  | 'ENDPOINT_COMPLETIONS'
  | 2
  | 'ENDPOINT_EMBEDDINGS'
  | 3

export type Endpoint__Output = typeof Endpoint[keyof typeof Endpoint]
