// Original file: fleet/v1/fleet.proto

export const DirectPhase = {
  DIRECT_PHASE_UNSPECIFIED: 'DIRECT_PHASE_UNSPECIFIED',
  DIRECT_PHASE_BEGUN: 'DIRECT_PHASE_BEGUN',
  DIRECT_PHASE_FIRST_TOKEN: 'DIRECT_PHASE_FIRST_TOKEN',
  DIRECT_PHASE_HELD: 'DIRECT_PHASE_HELD',
  DIRECT_PHASE_ENDED: 'DIRECT_PHASE_ENDED',
} as const;

export type DirectPhase =
  | 'DIRECT_PHASE_UNSPECIFIED'
  | 0
  | 'DIRECT_PHASE_BEGUN'
  | 1
  | 'DIRECT_PHASE_FIRST_TOKEN'
  | 2
  | 'DIRECT_PHASE_HELD'
  | 3
  | 'DIRECT_PHASE_ENDED'
  | 4

export type DirectPhase__Output = typeof DirectPhase[keyof typeof DirectPhase]
