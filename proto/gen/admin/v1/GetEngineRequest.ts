// Original file: admin/v1/admin.proto


export interface GetEngineRequest {
  'name'?: (string);
}

export interface GetEngineRequest__Output {
  'name': (string);
}
