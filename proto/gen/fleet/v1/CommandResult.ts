// Original file: fleet/v1/fleet.proto


export interface CommandResult {
  'id'?: (string);
  'code'?: (string);
  'message'?: (string);
  'param'?: (string);
}

export interface CommandResult__Output {
  'id': (string);
  'code': (string);
  'message': (string);
  'param': (string);
}
