// Original file: admin/v1/admin.proto


export interface OrderRolloutRequest {
  'name'?: (string);
  'verb'?: (string);
  'reason'?: (string);
}

export interface OrderRolloutRequest__Output {
  'name': (string);
  'verb': (string);
  'reason': (string);
}
