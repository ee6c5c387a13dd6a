// Original file: inference/v1/inference.proto


export interface CancelRequest {
  'requestId'?: (string);
}

export interface CancelRequest__Output {
  'requestId': (string);
}
