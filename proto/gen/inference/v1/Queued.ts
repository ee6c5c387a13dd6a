// Original file: inference/v1/inference.proto


export interface Queued {
  'position'?: (number);
  'etaMs'?: (number);
  '_etaMs'?: "etaMs";
}

export interface Queued__Output {
  'position': (number);
  'etaMs'?: (number);
  '_etaMs'?: "etaMs";
}
