// Original file: admin/v1/admin.proto


export interface LiftFreezeRequest {
  'reason'?: (string);
  'acceptLog'?: (boolean);
}

export interface LiftFreezeRequest__Output {
  'reason': (string);
  'acceptLog': (boolean);
}
