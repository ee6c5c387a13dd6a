// Original file: admin/v1/admin.proto


export interface OrderDefragmentationResponse {
  'moves'?: (number);
  'correlationId'?: (string);
}

export interface OrderDefragmentationResponse__Output {
  'moves': (number);
  'correlationId': (string);
}
