// Original file: admin/v1/admin.proto


export interface GetRolloutRequest {
  'name'?: (string);
}

export interface GetRolloutRequest__Output {
  'name': (string);
}
