// Original file: fleet/v1/fleet.proto

export const EngineKind = {
  ENGINE_KIND_UNSPECIFIED: 'ENGINE_KIND_UNSPECIFIED',
  ENGINE_KIND_VLLM: 'ENGINE_KIND_VLLM',
  ENGINE_KIND_LLAMA: 'ENGINE_KIND_LLAMA',
  ENGINE_KIND_SIM: 'ENGINE_KIND_SIM',
} as const;

export type EngineKind =
  | 'ENGINE_KIND_UNSPECIFIED'
  | 0
  | 'ENGINE_KIND_VLLM'
  | 1
  | 'ENGINE_KIND_LLAMA'
  | 2
  | 'ENGINE_KIND_SIM'
  | 3

export type EngineKind__Output = typeof EngineKind[keyof typeof EngineKind]
