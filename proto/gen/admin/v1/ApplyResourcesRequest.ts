// Original file: admin/v1/admin.proto


export interface ApplyResourcesRequest {
  'resources'?: (string)[];
  'dryRun'?: (boolean);
  'reason'?: (string);
}

export interface ApplyResourcesRequest__Output {
  'resources': (string)[];
  'dryRun': (boolean);
  'reason': (string);
}
