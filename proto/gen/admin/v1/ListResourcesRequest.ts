// Original file: admin/v1/admin.proto


export interface ListResourcesRequest {
  'kind'?: (string);
}

export interface ListResourcesRequest__Output {
  'kind': (string);
}
