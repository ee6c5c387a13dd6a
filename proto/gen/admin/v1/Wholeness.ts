// Original file: admin/v1/admin.proto


export interface Wholeness {
  'emptyGpus'?: (number);
  'emptyNodes'?: (number);
  'pending'?: (number);
}

export interface Wholeness__Output {
  'emptyGpus': (number);
  'emptyNodes': (number);
  'pending': (number);
}
