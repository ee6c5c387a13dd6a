// Original file: inference/v1/inference.proto


export interface CancelRequest {
  'requestId'?: (string);
  'tenant'?: (string);
  '_tenant'?: "tenant";
}

export interface CancelRequest__Output {
  'requestId': (string);
  'tenant'?: (string);
  '_tenant'?: "tenant";
}
