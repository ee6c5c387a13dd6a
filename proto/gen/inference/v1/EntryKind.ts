// Original file: inference/v1/inference.proto

export const EntryKind = {
  ENTRY_KIND_UNSPECIFIED: 'ENTRY_KIND_UNSPECIFIED',
  ENTRY_KIND_CHUNK: 'ENTRY_KIND_CHUNK',
  ENTRY_KIND_TOKEN_IDS: 'ENTRY_KIND_TOKEN_IDS',
  ENTRY_KIND_USAGE: 'ENTRY_KIND_USAGE',
  ENTRY_KIND_END: 'ENTRY_KIND_END',
  ENTRY_KIND_ERROR: 'ENTRY_KIND_ERROR',
  ENTRY_KIND_REQUEST_ID: 'ENTRY_KIND_REQUEST_ID',
} as const;

export type EntryKind =
  | 'ENTRY_KIND_UNSPECIFIED'
  | 0
  | 'ENTRY_KIND_CHUNK'
  | 1
  | 'ENTRY_KIND_TOKEN_IDS'
  | 2
  | 'ENTRY_KIND_USAGE'
  | 3
  | 'ENTRY_KIND_END'
  | 4
  | 'ENTRY_KIND_ERROR'
  | 5
  | 'ENTRY_KIND_REQUEST_ID'
  | 6

export type EntryKind__Output = typeof EntryKind[keyof typeof EntryKind]
