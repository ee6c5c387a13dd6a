// Original file: admin/v1/admin.proto


export interface ExplainDeploymentRequest {
  'model'?: (string);
}

export interface ExplainDeploymentRequest__Output {
  'model': (string);
}
