// Original file: admin/v1/admin.proto


export interface CostPart {
  'name'?: (string);
  'value'?: (number | string);
}

export interface CostPart__Output {
  'name': (string);
  'value': (number);
}
