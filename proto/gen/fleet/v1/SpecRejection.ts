// Original file: fleet/v1/fleet.proto


export interface SpecRejection {
  'engine'?: (string);
  'code'?: (string);
  'message'?: (string);
  'param'?: (string);
}

export interface SpecRejection__Output {
  'engine': (string);
  'code': (string);
  'message': (string);
  'param': (string);
}
