// Original file: inference/v1/inference.proto


export interface Credit {
  'stream'?: (number);
  'bytes'?: (number);
}

export interface Credit__Output {
  'stream': (number);
  'bytes': (number);
}
