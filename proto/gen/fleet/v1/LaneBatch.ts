// Original file: fleet/v1/fleet.proto


export interface LaneBatch {
  'frames'?: (Buffer | Uint8Array | string);
}

export interface LaneBatch__Output {
  'frames': (Buffer);
}
