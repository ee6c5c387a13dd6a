// Original file: admin/v1/admin.proto


export interface RevokeKeyRequest {
  'id'?: (string);
  'reason'?: (string);
}

export interface RevokeKeyRequest__Output {
  'id': (string);
  'reason': (string);
}
