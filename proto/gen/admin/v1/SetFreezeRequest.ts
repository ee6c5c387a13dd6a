// Original file: admin/v1/admin.proto


export interface SetFreezeRequest {
  'reason'?: (string);
}

export interface SetFreezeRequest__Output {
  'reason': (string);
}
