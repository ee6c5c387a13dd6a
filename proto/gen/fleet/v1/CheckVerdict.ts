// Original file: fleet/v1/fleet.proto

export const CheckVerdict = {
  CHECK_VERDICT_UNSPECIFIED: 'CHECK_VERDICT_UNSPECIFIED',
  CHECK_VERDICT_OK: 'CHECK_VERDICT_OK',
  CHECK_VERDICT_WARN: 'CHECK_VERDICT_WARN',
  CHECK_VERDICT_FAIL: 'CHECK_VERDICT_FAIL',
  CHECK_VERDICT_UNKNOWN: 'CHECK_VERDICT_UNKNOWN',
} as const;

export type CheckVerdict =
  | 'CHECK_VERDICT_UNSPECIFIED'
  | 0
  | 'CHECK_VERDICT_OK'
  | 1
  | 'CHECK_VERDICT_WARN'
  | 2
  | 'CHECK_VERDICT_FAIL'
  | 3
  | 'CHECK_VERDICT_UNKNOWN'
  | 4

export type CheckVerdict__Output = typeof CheckVerdict[keyof typeof CheckVerdict]
