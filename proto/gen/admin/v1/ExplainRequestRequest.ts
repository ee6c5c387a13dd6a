// Original file: admin/v1/admin.proto


export interface ExplainRequestRequest {
  'requestId'?: (string);
}

export interface ExplainRequestRequest__Output {
  'requestId': (string);
}
