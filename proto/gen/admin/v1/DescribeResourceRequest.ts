// Original file: admin/v1/admin.proto


export interface DescribeResourceRequest {
  'kind'?: (string);
  'name'?: (string);
}

export interface DescribeResourceRequest__Output {
  'kind': (string);
  'name': (string);
}
