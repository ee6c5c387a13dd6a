// Original file: inference/v1/inference.proto


export interface CancelResponse {
  'cancelled'?: (boolean);
}

export interface CancelResponse__Output {
  'cancelled': (boolean);
}
